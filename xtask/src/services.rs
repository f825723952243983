//! `cargo xtask services`, and the servers that other commands run against: `gatekey-services` finds and starts them.

pub(crate) use gatekey_services::{
    Durability, NotRun, Service, Services, free_port, install, postgres, program, redis, server,
};

use crate::run::{Failed, no_arguments};

/// `cargo xtask services`: starts what there is, and waits.
pub(crate) fn services(arguments: Vec<String>) -> Result<(), Failed> {
    let durable = arguments == ["--durable"];
    if !durable {
        no_arguments(&arguments)?;
    }
    let durability = if durable { Durability::Durable } else { Durability::Fast };
    let found = Services::find_for(durability, |_| true);
    for (variable, service) in found.each() {
        match service {
            Ok(service) => println!("export {variable}='{}'   # {}", service.url(), service.about()),
            Err(NotRun(reason)) => println!("# {variable}: not run: {reason}"),
        }
    }
    if found.environment().next().is_none() {
        return Err(Failed("no service is available".to_owned()));
    }
    println!("# Ctrl-C ends them.");
    // A terminal sends its Ctrl-C to the servers too; whatever else ends this process ends them with it.
    loop {
        std::thread::park();
    }
}
