//! Every family of rows, in the order of the table.

mod guarded;
mod hostile;
mod login;
pub(crate) mod memory;
mod micro;
mod peers;
mod refresh;
mod revocation;
mod size;

use crate::row::Row;

pub(crate) fn all() -> Vec<Row> {
    let families = [
        micro::rows(),
        guarded::rows(),
        refresh::rows(),
        login::rows(),
        revocation::rows(),
        hostile::rows(),
        memory::rows(),
        size::rows(),
        peers::rows(),
    ];
    families.into_iter().flatten().collect()
}
