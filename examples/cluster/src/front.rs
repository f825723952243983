//! One address for all nodes: a connection goes to the next of them, and where nobody takes it to the one after.
//!
//! It stands for nginx or a cloud's balancer, which would also end TLS and say who the client is (`docs/deployment.md`).

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Forwards connections for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, mut nodes: Vec<SocketAddr>) {
    loop {
        // One that cannot be accepted is the client's loss, and the next one's chance.
        let Ok((client, _)) = listener.accept().await else { continue };
        let turn = nodes.clone();
        nodes.rotate_left(1);
        tokio::spawn(forward(client, turn));
    }
}

async fn forward(mut client: TcpStream, nodes: Vec<SocketAddr>) {
    for node in nodes {
        if let Ok(mut server) = TcpStream::connect(node).await {
            // However it ends, it has ended for both.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
