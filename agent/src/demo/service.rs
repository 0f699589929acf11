//! The demo's sample workload: `holdfast demo-service PORT [STAMPS]`, a small HTTP service that says who answers.
//!
//! With a directory for stamps it also keeps a truth that no agent can colour: from when to when, by the host's own
//! clock, each of its runs was alive.

use crate::clock;
use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

/// How often a run says that it is alive.
pub const STAMP_EVERY: Duration = Duration::from_millis(5);
/// A client that doesn't speak or listen is left after this: requests are answered one after the other.
const CLIENT_LIMIT: Duration = Duration::from_millis(200);
const REQUEST_BYTES: usize = 1_024;
/// The port may be held for a moment by the run before this one.
const BIND_TRIES: u32 = 20;
const BIND_AGAIN: Duration = Duration::from_millis(50);
/// No stamp is longer.
const STAMP_BYTES: u64 = 512;
/// A stamp is read so often until two readings agree.
const STAMP_READS: u32 = 20;

/// The service's main.
#[must_use]
pub fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("holdfast demo-service: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Who answers.
struct Me {
    workload: String,
    index: u16,
    instance: String,
    node: String,
    generation: u64,
}

fn run(arguments: &[OsString]) -> Result<(), String> {
    let me = Me::from_environment()?;
    let port = arguments.first().and_then(|a| a.to_str()?.parse::<u16>().ok());
    let port = port.and_then(|port| port.checked_add(me.index)).ok_or("the first argument must be a port")?;
    if let Some(dir) = arguments.get(1) {
        keep_stamping(&me, Path::new(dir)).map_err(|e| format!("can't stamp into {}: {e}", dir.display()))?;
    }
    let listener = bind(port).map_err(|e| format!("can't listen on 127.0.0.1:{port}: {e}"))?;
    println!("{} {} on {}, generation {}", me.workload, me.index, me.node, me.generation);
    for (count, client) in (1_u64..).zip(listener.incoming()) {
        // A client that went away misses nothing.
        let _gone = client.and_then(|client| answer(client, &me, count));
    }
    Ok(())
}

impl Me {
    fn from_environment() -> Result<Self, String> {
        let variable =
            |name: &str| std::env::var(name).map_err(|_| format!("{name} isn't set: agents start this"));
        let number = |name: &str| {
            variable(name)?.parse::<u64>().map_err(|_| format!("{name} isn't a number: agents start this"))
        };
        Ok(Self {
            workload: variable("HOLDFAST_WORKLOAD")?,
            index: u16::try_from(number("HOLDFAST_INDEX")?).map_err(|e| e.to_string())?,
            instance: variable("HOLDFAST_INSTANCE")?,
            node: variable("HOLDFAST_NODE")?,
            generation: number("HOLDFAST_GENERATION")?,
        })
    }
}

fn bind(port: u16) -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        tries += 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES => thread::sleep(BIND_AGAIN),
            done => return done,
        }
    }
}

fn answer(mut client: TcpStream, me: &Me, count: u64) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_LIMIT))?;
    client.set_write_timeout(Some(CLIENT_LIMIT))?;
    let mut request = [0; REQUEST_BYTES];
    // Whatever was asked, the answer is the same.
    if client.read(&mut request)? == 0 {
        return Ok(());
    }
    let Me { workload, index, node, generation, .. } = me;
    let body = serde_json::json!({
        "workload": workload, "index": index, "node": node, "generation": generation, "count": count,
    });
    let body = format!("{body}\n");
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// One run of one instance, as it stamped itself: alive from `first` to `last`, CLOCK_BOOTTIME in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub generation: u64,
    pub first: u64,
    pub last: u64,
    pub node: String,
}

/// Stamps once at once, then from a thread of its own. A run that can't stamp ends: nobody could vouch for it.
fn keep_stamping(me: &Me, dir: &Path) -> io::Result<()> {
    let path = dir.join(format!("{}.{}.{}", me.workload, me.index, me.instance));
    let file = fs::OpenOptions::new().create_new(true).write(true).open(path)?;
    let (generation, node, first) = (me.generation, me.node.clone(), clock::now().boot.as_nanos());
    let stamp = move || {
        let last = clock::now().boot.as_nanos();
        file.write_all_at(format!("{generation:020} {first:020} {last:020} {node}\n").as_bytes(), 0)
    };
    stamp()?;
    thread::spawn(move || {
        loop {
            thread::sleep(STAMP_EVERY);
            if let Err(e) = stamp() {
                eprintln!("holdfast demo-service: can't stamp any more: {e}");
                std::process::exit(1);
            }
        }
    });
    Ok(())
}

/// All runs that stamped themselves into `dir`, by the time they began.
pub fn stamps(dir: &Path) -> Result<Vec<Stamp>, String> {
    let failed = |e: io::Error| format!("the stamps in {} can't be read: {e}", dir.display());
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let text = settled(&path).map_err(failed)?;
        all.push(parse(&text).ok_or_else(|| format!("the stamp {} is damaged: {text:?}", path.display()))?);
    }
    all.sort_by_key(|stamp| stamp.first);
    Ok(all)
}

/// A live run writes meanwhile: two readings that agree are none of a half-written stamp.
fn settled(path: &PathBuf) -> io::Result<String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(path)?.take(STAMP_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    let mut before = read()?;
    for _ in 0..STAMP_READS {
        let now = read()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

fn parse(text: &str) -> Option<Stamp> {
    let mut words = text.split_whitespace();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (generation, first, last) = (number()?, number()?, number()?);
    Some(Stamp { generation, first, last, node: words.next()?.to_owned() })
}

/// Two runs at once, or a generation that came back: what must never be. `runs` are by the time they began.
#[must_use]
pub fn overlap(runs: &[Stamp]) -> Option<String> {
    let pairs = runs.iter().zip(runs.iter().skip(1));
    for (before, after) in pairs {
        let said = |stamp: &Stamp| format!("generation {} on {}", stamp.generation, stamp.node);
        if after.first <= before.last {
            let ms = (before.last - after.first) / 1_000_000;
            return Some(format!("{} ran while {} still did, for {ms} ms", said(after), said(before)));
        }
        if after.generation < before.generation {
            return Some(format!("{} ran after {}", said(after), said(before)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(generation: u64, first: u64, last: u64) -> Stamp {
        Stamp { generation, first, last, node: format!("n{generation}") }
    }

    #[test]
    fn two_runs_at_once_and_old_generations_are_found() {
        assert_eq!(overlap(&[run(1, 10, 20), run(2, 21, 30), run(2, 31, 40)]), None);
        let said = overlap(&[run(1, 10, 25_000_010), run(2, 10_000_000, 30_000_000)]).unwrap();
        assert_eq!(said, "generation 2 on n2 ran while generation 1 on n1 still did, for 15 ms");
        assert!(overlap(&[run(2, 10, 20), run(1, 21, 30)]).unwrap().contains("after generation 2"));
        // The same generation twice at once is two copies as well.
        assert!(overlap(&[run(1, 10, 20), run(1, 20, 30)]).is_some());
    }

    #[test]
    fn a_stamp_reads_back_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let me =
            Me { workload: "c".into(), index: 0, instance: "a1".into(), node: "n4".into(), generation: 7 };
        keep_stamping(&me, dir.path()).unwrap();
        let first = stamps(dir.path()).unwrap().remove(0);
        assert_eq!((first.generation, first.node.as_str()), (7, "n4"));
        thread::sleep(STAMP_EVERY * 20);
        let later = stamps(dir.path()).unwrap().remove(0);
        assert!(later.last > first.last && later.first == first.first);
        fs::write(dir.path().join("x"), "12 zz").unwrap();
        assert!(stamps(dir.path()).unwrap_err().contains("damaged"));
    }
}
