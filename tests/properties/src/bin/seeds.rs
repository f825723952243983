//! Writes the inputs that fuzzing begins with into a folder for each target.

#![allow(clippy::unwrap_used, reason = "whoever runs it sees why it cannot write")]

use std::{fs, path::Path};

use gatekey_properties::{TARGETS, seeds};

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    for target in TARGETS {
        let folder = Path::new(&folder).join(target.name);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds::inputs(target.name) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
