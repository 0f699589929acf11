<<<<<<< HEAD
//! stub
fn main() {}
=======
//! The `holdfast` binary: which part of it is meant. Nothing else.

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    // Before anything starts a thread: a guard forks.
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "guard") {
        return holdfast::workload::guard::main(Path::new(&arguments.next().unwrap_or_default()));
    }
    ExitCode::SUCCESS
}
>>>>>>> workload
