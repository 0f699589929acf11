//! Programs that run beside a lab and say something now and then: each line with the moment in which it came.

use super::{command, error::LabError};
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::SystemTime,
};

#[derive(Clone, Debug)]
pub struct Line {
    pub at: SystemTime,
    pub text: String,
}

/// One running program. Dropping it ends it.
pub struct Speaker {
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Speaker {
    pub fn start(mut command: Command) -> Result<Self, LabError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let program = command.get_program().to_owned();
        let mut child = command.spawn().map_err(LabError::io(format!("start {program:?}")))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(pipe) = child.stdout.take() {
            let keep = lines.clone();
            // It ends with the program, whose output ends then.
            std::thread::spawn(move || {
                for text in BufReader::new(pipe).lines().map_while(Result::ok) {
                    keep.lock().expect("no holder panics").push(Line { at: SystemTime::now(), text });
                }
            });
        }
        Ok(Self { child, lines })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// All so far, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("no holder panics").clone()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        command::end(&mut self.child);
    }
}
