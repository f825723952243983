use std::{
    future::Future,
    pin::{Pin, pin},
    sync::mpsc,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::random::{RandomFailed, SystemRandom};

const PASSWORD: &str = "correct horse battery staple";

fn password() -> Secret<String> {
    Secret::new(PASSWORD.to_owned())
}

/// The cheapest that is allowed.
fn params() -> Argon2Params {
    Argon2Params::new(12_288, 3, 1).unwrap()
}

fn hasher(queue: usize, random: impl Random) -> PasswordHasher {
    PasswordHasher::start(params(), PoolSize { threads: 1, queue }, Arc::new(random)).unwrap()
}

/// Runs a future until it first waits, which is when its job is in the queue.
fn begin<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Holds every thread that asks for random bytes until the test lets one go on; salts count the calls.
#[derive(Debug)]
struct Gate {
    reached: mpsc::SyncSender<()>,
    open: Mutex<mpsc::Receiver<()>>,
    calls: AtomicU64,
}

impl Gate {
    fn new() -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (reached, arrivals) = mpsc::sync_channel(100);
        let (release, open) = mpsc::channel();
        let gate = Self { reached, open: Mutex::new(open), calls: AtomicU64::new(0) };
        (gate, arrivals, release)
    }
}

impl Random for Gate {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
        self.reached.send(()).unwrap();
        self.open.lock().unwrap().recv().unwrap();
        bytes.fill(u8::try_from(self.calls.fetch_add(1, Ordering::Relaxed)).unwrap());
        Ok(())
    }
}

#[test]
fn its_futures_may_move_between_threads() {
    fn movable(_: impl Send) {}
    let hasher = hasher(1, SystemRandom);
    movable(hasher.hash(password()));
    movable(hasher.verify(password(), None));
}

#[tokio::test]
async fn what_was_hashed_verifies_and_nothing_else_does() {
    let hasher = hasher(8, SystemRandom);
    let stored = hasher.hash(password()).await.unwrap();
    assert_eq!(hasher.verify(password(), Some(&stored)).await, Ok(Verdict { matches: true, rehash: false }));
    // ASVS 6.2.8: no trimming, no folding, no truncation, no stop at NUL.
    for other in [
        "",
        "correct horse battery stapl",
        "Correct horse battery staple",
        " correct horse battery staple",
        "correct horse battery staple ",
        "correct horse battery staple\0",
        "correct\u{a0}horse battery staple",
    ] {
        let verdict = hasher.verify(Secret::new(other.to_owned()), Some(&stored));
        assert!(!verdict.await.unwrap().matches, "{other:?}");
    }
}

#[tokio::test]
async fn the_last_byte_of_the_longest_password_counts() {
    let hasher = hasher(8, SystemRandom);
    let long = |end: &str| Secret::new(format!("{}{end}", "\u{1F512}".repeat(255)));
    let stored = hasher.hash(long("\u{1F512}")).await.unwrap();
    assert!(hasher.verify(long("\u{1F512}"), Some(&stored)).await.unwrap().matches);
    assert!(!hasher.verify(long("\u{1F513}"), Some(&stored)).await.unwrap().matches);
}

#[tokio::test]
async fn the_same_password_is_never_hashed_to_the_same_string() {
    let hasher = hasher(8, SystemRandom);
    let (a, b) = (hasher.hash(password()).await.unwrap(), hasher.hash(password()).await.unwrap());
    assert_ne!(a.expose(), b.expose());
    assert!(a.expose().starts_with("$argon2id$v=19$m=12288,t=3,p=1$"));
}

#[tokio::test]
async fn an_unknown_name_costs_one_hash_and_never_matches() {
    let hasher = hasher(8, SystemRandom);
    let stored = hasher.hash(password()).await.unwrap();
    let before = hasher.hashes();
    hasher.verify(password(), Some(&stored)).await.unwrap();
    assert_eq!(hasher.hashes() - before, 1);
    let verdict = hasher.verify(password(), None).await.unwrap();
    assert_eq!(hasher.hashes() - before, 2);
    assert_eq!(verdict, Verdict { matches: false, rehash: false });
}

#[test]
fn an_unknown_name_does_not_match_even_by_its_own_tag() {
    let mut worker = Worker::new(params(), Arc::new(SystemRandom));
    let nobody = worker.nobody.clone();
    worker.nobody.tag = worker.argon2(&password(), &nobody).unwrap();
    assert!(!worker.verify(&password(), None).unwrap().matches);
}

// Made with argon2-cffi 25.1 (libargon2) and passlib 1.7.4.
const OTHERS: &[(&str, &str)] = &[
    (
        "correct horse battery staple",
        "$argon2id$v=19$m=1024,t=3,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$ScwYyUtj6jPkhj1MD0IS81DWyNKQUtD9m/vT6Gam59U",
    ),
    (
        "correct horse battery staple",
        "$argon2i$v=19$m=512,t=4,p=4$MTIzNDU2Nzg5MDEyMzQ1Ng$VE9zG9VmUJpIEBBDJkvsITXF9kluI3MToR2yAoNhJG8",
    ),
    ("correct horse battery staple", "$argon2d$v=19$m=64,t=1,p=2$c2FsdHNhbHQ$0VTyhltXjK/G21+WtudGMg"),
    (
        "correct horse battery staple",
        "$argon2i$v=16$m=256,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$OOlsT6UGmiupOMgjpy++QD2sIFhJpapdPux3EGPgHJU",
    ),
    (
        "correct horse battery staple",
        "$argon2id$v=19$m=20480,t=1,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$N/+6V38dHPGHF7PoLOUbQUfsXZOlF/JrdQfpuytrzmgpm6tEPJUeQtY/VjHzJ/xleXEiUeY1ysUiRYP5S1GhKw",
    ),
    (
        "Zwölf Boxkämpfer jagen Viktor",
        "$argon2id$v=19$m=12288,t=3,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$Wbj1YcfeLus7oGpB5QMcJs4z1RoSInog",
    ),
    (
        "correct horse battery staple",
        "$argon2id$v=19$m=512,t=2,p=8$MTIzNDU2Nzg5MDEyMzQ1Ng$nvwmmr/S0YfG93ENXYpJJWPF5SCeGv3x+xveYGuF5Eg",
    ),
];

#[tokio::test]
async fn argon2_hashes_of_other_software_verify_and_are_to_be_replaced() {
    let hasher = hasher(8, SystemRandom);
    for (password, stored) in OTHERS {
        let stored = PasswordHash::new(*stored);
        let right = hasher.verify(Secret::new((*password).to_owned()), Some(&stored)).await;
        assert_eq!(right, Ok(Verdict { matches: true, rehash: true }), "{}", stored.expose());
        let wrong = hasher.verify(Secret::new(format!("{password}.")), Some(&stored)).await;
        assert_eq!(wrong, Ok(Verdict { matches: false, rehash: false }), "{}", stored.expose());
    }
}

#[test]
fn a_cheaper_hash_is_filled_up_to_the_configured_work() {
    let mut worker = Worker::new(params(), Arc::new(SystemRandom));
    let (_, stored) = OTHERS[0];
    let mut spent = |stored: Option<&PasswordHash>| {
        worker.spent = 0;
        worker.verify(&password(), stored).unwrap();
        worker.spent
    };
    let unknown = spent(None);
    assert_eq!(unknown, 12_288 * 3);
    let cheaper = spent(Some(&PasswordHash::new(stored)));
    assert!(unknown - cheaper < 8, "{cheaper}");
}

#[test]
fn a_costlier_hash_has_its_memory_for_one_computation() {
    let mut worker = Worker::new(params(), Arc::new(SystemRandom));
    let stored = "$argon2id$v=19$m=20000,t=1,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$AAAAAAAAAAAAAAAAAAAAAA";
    worker.verify(&password(), Some(&PasswordHash::new(stored))).unwrap();
    assert!(worker.memory.len() <= 12_288);
    worker.hash(&password()).unwrap();
    assert_eq!(worker.memory.len(), 12_288);
    assert_eq!(worker.memory.capacity(), 12_288);
}

#[test]
fn the_blocks_next_to_the_password_are_wiped() {
    let params = Argon2Params::new(47_104, 1, 2).unwrap();
    let mut worker = Worker::new(params, Arc::new(SystemRandom));
    worker.hash(&password()).unwrap();
    for first in [0, 47_104 / 2] {
        let is_zero = |block: usize| worker.memory[block].as_ref().iter().all(|word| *word == 0);
        assert!(is_zero(first) && is_zero(first + 1) && !is_zero(first + 2));
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_costs_too_much_fails_without_being_computed() {
    let hasher = hasher(8, SystemRandom);
    for stored in [
        "",
        "hunter2",
        "$argon2id$v=19$m=4194304,t=2,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=8,t=4294967295,p=1$MTIzNDU2Nzg5MDEyMzQ1Ng$AAAAAAAAAAAAAAAAAAAAAA",
        "$2b$17$abcdefghijklmnopqrstuuQ9qSXEn4XSMDeQmVLTDUQlqoGGxZpQe",
        "$scrypt$ln=18,r=8,p=1$MTIzNDU2Nzg$AAAAAAAAAAAAAAAAAAAAAA",
        "$pbkdf2-sha256$i=2000001$MTIzNDU2Nzg$AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let verdict = hasher.verify(password(), Some(&PasswordHash::new(stored))).await;
        assert_eq!(verdict, Err(HashError::Failed), "{stored}");
    }
    assert_eq!(hasher.hashes(), 0);
}

#[tokio::test]
async fn a_full_queue_is_busy_at_once_and_serves_the_others_in_order() {
    let (gate, arrivals, release) = Gate::new();
    let hasher = hasher(2, gate);
    let mut computing = pin!(hasher.hash(password()));
    assert!(begin(computing.as_mut()).is_pending());
    arrivals.recv().unwrap(); // the only thread is busy now
    let (mut first, mut second) = (pin!(hasher.hash(password())), pin!(hasher.hash(password())));
    assert!(begin(first.as_mut()).is_pending());
    assert!(begin(second.as_mut()).is_pending());
    assert_eq!(hasher.verify(password(), None).await, Err(HashError::Busy));
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    let salts: Vec<_> = [second.await, first.await, computing.await]
        .into_iter()
        .map(|hash| stored::argon2(hash.unwrap().expose()).unwrap().salt[0])
        .collect();
    assert_eq!(salts, [2, 1, 0]);
    assert_eq!(hasher.hashes(), 3);
}

#[tokio::test]
async fn a_dropped_request_is_not_computed_and_makes_room() {
    let (gate, arrivals, release) = Gate::new();
    let hasher = hasher(1, gate);
    let mut computing = pin!(hasher.hash(password()));
    assert!(begin(computing.as_mut()).is_pending());
    arrivals.recv().unwrap();
    {
        let mut dropped = Box::pin(hasher.hash(password()));
        assert!(begin(dropped.as_mut()).is_pending());
    }
    let mut last = pin!(hasher.hash(password()));
    assert!(begin(last.as_mut()).is_pending(), "the dropped one left its place");
    release.send(()).unwrap();
    release.send(()).unwrap();
    computing.await.unwrap();
    last.await.unwrap();
    assert_eq!(hasher.hashes(), 2);
}

#[test]
fn a_thread_passes_over_dropped_requests() {
    let queue = Queue::new(8);
    let (reply, answer) = oneshot::channel();
    queue.push(Job { password: password(), work: Work::Hash(reply) }).unwrap();
    drop(answer);
    assert!(matches!(queue.next(Some(Duration::ZERO)), Next::Idle));
}

#[test]
fn an_idle_thread_is_told_so_and_a_closed_queue_ends_it() {
    let queue = Queue::new(1);
    assert!(matches!(queue.next(Some(Duration::ZERO)), Next::Idle));
    queue.close();
    assert!(matches!(queue.next(Some(Duration::ZERO)), Next::End));
    assert!(matches!(queue.next(None), Next::End));
}

#[tokio::test]
async fn a_panic_ends_one_request_and_not_the_pool() {
    #[derive(Debug)]
    struct Once(AtomicU64);
    impl Random for Once {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
            assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the first call panics: that is the test");
            SystemRandom.fill(bytes)
        }
    }
    let hasher = hasher(8, Once(AtomicU64::new(0)));
    assert_eq!(hasher.hash(password()).await.unwrap_err(), HashError::Failed);
    assert!(hasher.hash(password()).await.is_ok());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_gives_way_and_nobody_else_does() {
    /// The niceness of the thread that asks, from -20 to 19.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // Fields are counted behind the name, which may hold blanks: proc_pid_stat(5).
        stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
    }
    #[derive(Debug)]
    struct Asked(Arc<Mutex<Vec<i32>>>);
    impl Random for Asked {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomFailed> {
            self.0.lock().unwrap().push(niceness());
            SystemRandom.fill(bytes)
        }
    }
    let (here, there) = (niceness(), Arc::default());
    let hasher = hasher(8, Asked(Arc::clone(&there)));
    hasher.hash(password()).await.unwrap();
    assert_eq!(*there.lock().unwrap(), [(here + 10).min(19)]);
    assert_eq!(niceness(), here);
    assert_eq!(std::thread::spawn(niceness).join().unwrap(), here);
}

#[tokio::test]
async fn without_random_bytes_there_is_no_hash() {
    #[derive(Debug)]
    struct Broken;
    impl Random for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomFailed> {
            Err(RandomFailed)
        }
    }
    let hasher = hasher(8, Broken);
    assert_eq!(hasher.hash(password()).await.unwrap_err(), HashError::Failed);
    assert_eq!(hasher.hashes(), 0);
}

#[tokio::test]
async fn the_threads_end_with_the_hasher() {
    let size = PoolSize { threads: 3, queue: 1 };
    let mut hasher = PasswordHasher::start(params(), size, Arc::new(SystemRandom)).unwrap();
    hasher.hash(password()).await.unwrap();
    let threads = std::mem::take(&mut hasher.threads);
    assert_eq!(threads.len(), 3);
    drop(hasher);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_size_of_zero_counts_as_one() {
    let size = PoolSize { threads: 0, queue: 0 };
    let hasher = PasswordHasher::start(params(), size, Arc::new(SystemRandom)).unwrap();
    assert_eq!(hasher.threads.len(), 1);
    assert_eq!(hasher.queue.capacity, 1);
}
