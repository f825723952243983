//! Connections that several callers use at a time, for calls of one statement.
//!
//! Each statement is a transaction of its own, and PostgreSQL answers what comes over one connection in its order. So
//! nobody has to wait for another's answer before sending: statements of several callers travel, run and are answered
//! together, which spares both sides wake-ups. What takes more than one statement needs a connection to itself, or
//! others' statements would end up in its transaction: those come from the pool.
//!
//! A statement that waits for a lock keeps those behind it waiting. So a caller takes the lane with the fewest others;
//! as long as there are no more calls than lanes, each has one to itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use deadpool_postgres::{ClientWrapper, Connect};
use tokio::sync::Mutex;
use tokio_postgres::Config;

use crate::{connector::AtHome, fault::Fault};

pub(crate) struct Lanes {
    lanes: Box<[Lane]>,
    config: Config,
    connector: AtHome,
}

#[derive(Default)]
struct Lane {
    /// `None` until somebody needs it, and after a fault.
    client: Mutex<Option<Arc<ClientWrapper>>>,
    callers: AtomicUsize,
}

/// A call's place in a lane.
pub(crate) struct Place<'l> {
    pub(crate) client: Arc<ClientWrapper>,
    turn: Turn<'l>,
}

/// That one caller more is in a lane.
struct Turn<'l>(&'l Lane);

impl Lanes {
    pub(crate) fn new(lanes: usize, config: Config, connector: AtHome) -> Self {
        Self { lanes: (0..lanes).map(|_| Lane::default()).collect(), config, connector }
    }

    /// A place in the lane with the fewest callers. It is connected if it is not.
    pub(crate) async fn place(&self) -> Result<Place<'_>, Fault> {
        let callers = |lane: &&Lane| lane.callers.load(Ordering::Relaxed);
        let lane = self.lanes.iter().min_by_key(callers).ok_or_else(|| Fault::unavailable("no lane"))?;
        let turn = Turn::take(lane);
        let mut slot = lane.client.lock().await;
        let client = match &*slot {
            Some(client) if !client.is_closed() => Arc::clone(client),
            _ => {
                let (client, connection) = self.connector.connect(&self.config).await?;
                Arc::clone(slot.insert(Arc::new(ClientWrapper::new(client, connection))))
            }
        };
        Ok(Place { client, turn })
    }
}

impl Place<'_> {
    /// Leaves the connection to those who are on it already: whatever failed may hang on it.
    pub(crate) async fn abandon(self) {
        let mut slot = self.turn.0.client.lock().await;
        if slot.as_ref().is_some_and(|present| Arc::ptr_eq(present, &self.client)) {
            *slot = None;
        }
    }
}

impl<'l> Turn<'l> {
    fn take(lane: &'l Lane) -> Self {
        lane.callers.fetch_add(1, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}
