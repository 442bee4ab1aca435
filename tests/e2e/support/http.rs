//! A small HTTP/1.1 client over a socket: enough to push and to ask, and nothing that could hide a fault.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::process::Result;

/// How long an answer may stand still.
const STALL: Duration = Duration::from_secs(60);

/// An answer, whole.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The headers, names in lower case.
    headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (in lower case), or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// Sends one request on a connection of its own and reads the whole answer.
pub(crate) fn request(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(STALL))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    read_answer(&mut BufReader::new(stream), method == "HEAD")
}

/// A GET without headers of its own.
pub(crate) fn get(address: &str, target: &str) -> Result<Answer> {
    request(address, "GET", target, &[], &[])
}

fn read_answer(reader: &mut impl BufRead, headless: bool) -> Result<Answer> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("not a status line: {line:?}"))?;
    let mut answer = Answer {
        status,
        headers: read_headers(reader)?,
        body: Vec::new(),
    };
    if headless {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == "chunked" {
        read_chunks(reader, &mut answer.body)?;
    } else if let Ok(length) = answer.header("content-length").parse::<usize>() {
        answer.body.resize(length, 0);
        reader.read_exact(&mut answer.body)?;
    } else {
        reader.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_headers(reader: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            return Ok(headers);
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16)?;
        let read = reader.by_ref().take(size).read_to_end(body)?;
        if read as u64 != size {
            return Err("the body ended inside a chunk".into());
        }
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}
