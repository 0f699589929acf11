//! Asking a server of loopback for a page. Not here: what the page says.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// HTTP 1.0, so that the body comes in one piece and ends with the connection.
pub fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}
