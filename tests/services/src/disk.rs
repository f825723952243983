//! A small disk of a server's own, to be filled: a file system in memory, which only root can mount.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{NotRun, server::Account};

/// It is gone with this value, and with it what is on it.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on an empty folder.
    pub(super) fn mount(at: &Path, megabytes: u32, owner: Option<Account>) -> Result<Self, NotRun> {
        let owner = owner.map_or(String::new(), |Account { user, group }| format!(",uid={user},gid={group}"));
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("mode=0700,size={megabytes}m{owner}"), "gatekey"]).arg(at);
        let output = mount.output().map_err(|error| NotRun::because("mount", error))?;
        if output.status.success() {
            return Ok(Self(at.to_owned()));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(NotRun::because("no disk to fill can be mounted here", said.lines().next().unwrap_or_default()))
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> Result<(), NotRun> {
        let failed = |error| NotRun::because("filling the disk", error);
        let mut file = fs::File::create(self.filler()).map_err(failed)?;
        for size in [1 << 16, 1 << 10] {
            let block = vec![1; size];
            loop {
                match file.write(&block) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn free(&self) -> Result<(), NotRun> {
        fs::remove_file(self.filler()).map_err(|error| NotRun::because("freeing the disk", error))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes away whatever is mounted there, if anything is.
    pub(super) fn unmount(at: &Path) {
        // Lazily: a process that ends in a moment may still have files open.
        let mut umount = Command::new("umount");
        let _ =
            umount.args(["--lazy", "--quiet"]).arg(at).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Self::unmount(&self.0);
    }
}
