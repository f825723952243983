//! Threads that hash passwords: a fixed number, fed by one bounded queue, first come first served.
//!
//! On Linux they have a lower priority than the threads that answer requests: a hash takes some 20 ms, and whoever
//! only shows a token is not to wait for the end of a time slice of it. Beside threads of normal priority that want all
//! of a core, hashing keeps about a tenth of it, so a login takes longer then and ends all the same.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::oneshot;

use super::{
    Argon2Params, Fault, HashError, PasswordHash, Verdict,
    stored::{self, Argon2Hash, Stored},
};
use crate::{
    random::Random,
    secret::{Secret, equal},
};

/// How long an idle thread keeps its memory: longer than the gaps of a busy server, shorter than an operator's look.
const KEEP_MEMORY: Duration = Duration::from_secs(10);

/// By how much the priority of a hashing thread is lowered, as of `nice(1)`: a tenth of the weight of a thread that is
/// not. 19, the most, would be a seventieth, and logins would end late or never on a machine that is always busy.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How many threads hash, and how many requests may wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Threads, each of which may use the memory of one hash. 0 counts as 1. Default: the cores this process may use.
    pub threads: usize,
    /// Requests that may wait; one more is [`HashError::Busy`]. 0 counts as 1. Default: 64 a thread, about a second of
    /// work. A waiting request holds its password and little else.
    pub queue: usize,
}

impl Default for PoolSize {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { threads, queue: threads.saturating_mul(64) }
    }
}

/// Hashes and verifies passwords on threads of its own.
///
/// Requests are served in the order in which they came. Dropping a future takes its request out of the queue, or
/// lets the answer go unheard if it is being computed. Dropping the hasher ends its threads.
pub struct PasswordHasher {
    queue: Arc<Queue>,
    hashes: Arc<AtomicU64>,
    params: Argon2Params,
    threads: Vec<JoinHandle<()>>,
}

impl PasswordHasher {
    /// Starts the threads. New hashes are of these costs, with salts from `random`.
    ///
    /// # Errors
    ///
    /// The operating system's, if a thread cannot be started.
    pub fn start(params: Argon2Params, size: PoolSize, random: Arc<dyn Random>) -> io::Result<Self> {
        let mut hasher = Self {
            queue: Arc::new(Queue::new(size.queue.max(1))),
            hashes: Arc::default(),
            params,
            threads: Vec::new(),
        };
        for n in 0..size.threads.max(1) {
            let (queue, hashes) = (Arc::clone(&hasher.queue), Arc::clone(&hasher.hashes));
            let mut worker = Worker::new(params, Arc::clone(&random));
            // Where this fails, dropping `hasher` ends the threads that were started.
            hasher.threads.push(thread::Builder::new().name(format!("gatekey-hash-{n}")).spawn(
                move || {
                    give_way();
                    worker.serve(&queue, &hashes);
                },
            )?);
        }
        Ok(hasher)
    }

    /// The costs of new hashes.
    #[must_use]
    pub fn params(&self) -> Argon2Params {
        self.params
    }

    /// How many passwords were computed since the start, by [`hash`](Self::hash) or [`verify`](Self::verify): one a
    /// login, whether the name is known or not.
    #[must_use]
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// Hashes a new password: argon2id with a fresh salt.
    ///
    /// # Errors
    ///
    /// [`HashError::Busy`] if the queue is full, [`HashError::Failed`] if random bytes or memory cannot be had.
    pub async fn hash(&self, password: Secret<String>) -> Result<PasswordHash, HashError> {
        self.ask(password, Work::Hash).await
    }

    /// Checks a password against the stored hash of an account, or against none where there is no such account (or it
    /// has no password): that costs a hash of the configured costs and never matches.
    ///
    /// After a match with [`Verdict::rehash`] the caller hashes the password anew and stores that. It may leave it to
    /// the next login where that is [`HashError::Busy`].
    ///
    /// # Errors
    ///
    /// [`HashError::Busy`] if the queue is full; [`HashError::Failed`] if the stored hash cannot be read or asks for
    /// more than the cap (nothing is computed then), or if memory cannot be had.
    pub async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<&PasswordHash>,
    ) -> Result<Verdict, HashError> {
        let stored = stored.cloned();
        self.ask(password, |reply| Work::Verify(stored, reply)).await
    }

    async fn ask<T>(
        &self,
        password: Secret<String>,
        work: impl FnOnce(Reply<T>) -> Work,
    ) -> Result<T, HashError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job { password, work: work(reply) })?;
        // The thread answers every job it takes, a panic included; this is what is left.
        answer.await.unwrap_or(Err(HashError::Failed))
    }
}

impl Drop for PasswordHasher {
    fn drop(&mut self) {
        // Not joined: that would block an async thread for as long as the last hash takes.
        self.queue.close();
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHasher")
            .field("params", &self.params)
            .field("threads", &self.threads.len())
            .field("queue", &self.queue.capacity)
            .finish_non_exhaustive()
    }
}

/// Lowers the priority of the thread that calls it (guarded by `hashing_gives_way_and_nobody_else_does`).
fn give_way() {
    // POSIX has it change the process. On Linux it changes the thread that calls, nice(2), and autogroups weigh only
    // sessions against each other.
    #[cfg(target_os = "linux")]
    // A sandbox may forbid it: then hashing competes as every thread does.
    let _ = rustix::process::nice(NICENESS);
}

type Reply<T> = oneshot::Sender<Result<T, HashError>>;

struct Job {
    password: Secret<String>,
    work: Work,
}

enum Work {
    Hash(Reply<PasswordHash>),
    Verify(Option<PasswordHash>, Reply<Verdict>),
}

impl Job {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Hash(reply) => reply.is_closed(),
            Work::Verify(_, reply) => reply.is_closed(),
        }
    }
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

/// What a thread does next.
enum Next {
    Compute(Job),
    /// There has been nothing to do for as long as it was ready to wait.
    Idle,
    End,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State { jobs: VecDeque::new(), open: true }),
            changed: Condvar::new(),
            capacity,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; and if it did, a queue of jobs is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), HashError> {
        let mut state = self.state();
        if state.jobs.len() >= self.capacity {
            // Clients that hung up must not keep the others out.
            state.jobs.retain(|job| !job.is_abandoned());
        }
        if state.jobs.len() >= self.capacity {
            return Err(HashError::Busy);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a job, at most for `patience`, or for ever.
    fn next(&self, patience: Option<Duration>) -> Next {
        let mut state = self.state();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                if !job.is_abandoned() {
                    return Next::Compute(job);
                }
            }
            if !state.open {
                return Next::End;
            }
            state = match patience {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (state, waited) =
                        self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && state.jobs.is_empty() && state.open {
                        return Next::Idle;
                    }
                    state
                }
            };
        }
    }

    fn close(&self) {
        self.state().open = false;
        self.changed.notify_all();
    }
}

/// What one thread owns.
struct Worker {
    params: Argon2Params,
    /// What an unknown name is checked against.
    nobody: Argon2Hash,
    random: Arc<dyn Random>,
    /// Kept from hash to hash: allocating and clearing 19 MiB takes a tenth of the time of a hash.
    memory: Vec<Block>,
    /// KiB × iterations of argon2 computed for the present job.
    spent: u64,
}

impl Worker {
    fn new(params: Argon2Params, random: Arc<dyn Random>) -> Self {
        Self {
            params,
            nobody: Argon2Hash {
                algorithm: Algorithm::Argon2id,
                version: Version::V0x13,
                params,
                salt: vec![0; Argon2Hash::SALT],
                tag: vec![0; Argon2Hash::TAG],
            },
            random,
            memory: Vec::new(),
            spent: 0,
        }
    }

    fn serve(&mut self, queue: &Queue, hashes: &AtomicU64) {
        loop {
            let patience = (!self.memory.is_empty()).then_some(KEEP_MEMORY);
            match queue.next(patience) {
                Next::Compute(job) => self.compute(job, hashes),
                Next::Idle => self.memory = Vec::new(),
                Next::End => return,
            }
        }
    }

    fn compute(&mut self, job: Job, hashes: &AtomicU64) {
        let Job { password, work } = job;
        match work {
            Work::Hash(reply) => {
                let result = self.guarded(hashes, |worker| worker.hash(&password));
                // Nobody may be listening any more: then the answer is dropped.
                let _ = reply.send(result);
            }
            Work::Verify(stored, reply) => {
                let result = self.guarded(hashes, |worker| worker.verify(&password, stored.as_ref()));
                let _ = reply.send(result);
            }
        }
    }

    /// Counts what was computed; catches a panic, so that the pool lives; logs why there is no answer.
    fn guarded<T>(
        &mut self,
        hashes: &AtomicU64,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, HashError> {
        self.spent = 0;
        let result = catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            self.memory = Vec::new();
            Err(Fault::Panicked)
        });
        match result {
            Ok(value) => {
                hashes.fetch_add(1, Ordering::Relaxed);
                Ok(value)
            }
            Err(fault) => {
                tracing::error!(
                    event = "password_hash_failed",
                    reason = fault.reason(),
                    "a password could not be hashed or verified"
                );
                Err(HashError::Failed)
            }
        }
    }

    fn hash(&mut self, password: &Secret<String>) -> Result<PasswordHash, Fault> {
        let mut hash = self.nobody.clone();
        self.random.fill(&mut hash.salt).map_err(|_| Fault::NoRandom)?;
        hash.tag = self.argon2(password, &hash)?;
        let base64 = base64_simd::STANDARD_NO_PAD;
        Ok(PasswordHash::new(format!(
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.params.memory_kib,
            self.params.iterations,
            self.params.parallelism,
            base64.encode_to_string(&hash.salt),
            base64.encode_to_string(&hash.tag),
        )))
    }

    fn verify(&mut self, password: &Secret<String>, stored: Option<&PasswordHash>) -> Result<Verdict, Fault> {
        let Some(stored) = stored else {
            let nobody = self.nobody.clone();
            let tag = self.argon2(password, &nobody)?;
            // Compared as well, so that the work is the same; it never matches, whatever the password.
            let _ = equal(&tag, &nobody.tag);
            return Ok(Verdict { matches: false, rehash: false });
        };
        let (matches, as_new) = match stored::parse(stored.expose())? {
            Stored::Argon2(hash) => {
                let matches = equal(&self.argon2(password, &hash)?, &hash.tag);
                self.fill_up()?;
                (matches, hash.is_as_new(self.params))
            }
            #[cfg(feature = "import")]
            Stored::Imported(hash) => (hash.matches(password)?, false),
        };
        Ok(Verdict { matches, rehash: matches && !as_new })
    }

    /// The tag that `hash` should have if it is of this password.
    fn argon2(&mut self, password: &Secret<String>, hash: &Argon2Hash) -> Result<Vec<u8>, Fault> {
        let Argon2Params { memory_kib, iterations, parallelism } = hash.params;
        let mut tag = vec![0; hash.tag.len()];
        let params = Params::new(memory_kib, iterations, parallelism, Some(tag.len()))
            .map_err(|_| Fault::Malformed)?;
        let mut temporary = Vec::new();
        let memory = self.memory_for(&params, &mut temporary)?;
        let lane = memory.len() / parallelism as usize;
        Argon2::new(hash.algorithm, hash.version, params)
            .hash_password_into_with_memory(password.expose().as_bytes(), &hash.salt, &mut tag, &mut *memory)
            .map_err(|_| Fault::Malformed)?;
        // After a single pass these still follow from the password by one fast hash: whoever read them in a core dump
        // could guess at a million times the speed (guarded by `the_blocks_next_to_the_password_are_wiped`).
        for lane in memory.chunks_mut(lane) {
            lane[..2].fill(Block::new());
        }
        self.spent += hash.params.work();
        Ok(tag)
    }

    /// Spends what a cheaper hash has left of the configured cost, so that the accounts from before it was raised do
    /// not answer sooner than unknown names (guarded by `a_cheaper_hash_is_filled_up_to_the_configured_work`).
    fn fill_up(&mut self) -> Result<(), Fault> {
        let missing = self.params.work().saturating_sub(self.spent);
        let passes = missing.div_ceil(u64::from(self.params.memory_kib));
        // Too little for argon2 is too little to be seen.
        let Some(memory_kib) = missing.checked_div(passes).filter(|kib| *kib >= 8) else {
            return Ok(());
        };
        let narrow = |n: u64| u32::try_from(n).map_err(|_| Fault::Malformed);
        let params =
            Params::new(narrow(memory_kib)?, narrow(passes)?, 1, None).map_err(|_| Fault::Malformed)?;
        let mut temporary = Vec::new();
        let memory = self.memory_for(&params, &mut temporary)?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .fill_memory(&[], &[0; Argon2Hash::SALT], &mut *memory)
            .map_err(|_| Fault::Malformed)?;
        self.spent += memory_kib * passes;
        Ok(())
    }

    /// As many blocks as `params` need: the kept ones, or `temporary` where a stored hash asks for more than ours do.
    fn memory_for<'a>(
        &'a mut self,
        params: &Params,
        temporary: &'a mut Vec<Block>,
    ) -> Result<&'a mut [Block], Fault> {
        let needed = params.block_count();
        let kept = self.params.memory_kib as usize;
        let (memory, size) = if needed <= kept { (&mut self.memory, kept) } else { (temporary, needed) };
        if memory.len() < size {
            memory.try_reserve_exact(size - memory.len()).map_err(|_| Fault::NoMemory)?;
            memory.resize(size, Block::new());
        }
        Ok(&mut memory[..needed])
    }
}

#[cfg(test)]
mod tests;
