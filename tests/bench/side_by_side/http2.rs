//! Blobs over HTTP/2 with prior knowledge, by hyper's own client for both servers.

use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Options;
use crate::load::TURN;
use crate::machine::{Server, pin};
use crate::servers::{Nginx, QUIET, nginx, seawall};
use crate::shelf::{Shelf, warm};
use crate::support::Result;
use crate::table::{Goal, Row, Table};

/// What is pulled, how, and what its ratio ought to be.
struct Lane {
    title: &'static str,
    size: u64,
    window: u32,
    connections: usize,
    streams: usize,
    goal: Option<f64>,
}

const LANES: [Lane; 3] = [
    Lane {
        title: "64 MiB, windows of 4 MiB, GB/s",
        size: 64 << 20,
        window: 4 << 20,
        connections: 1,
        streams: 1,
        goal: Some(1.25),
    },
    Lane {
        title: "64 MiB, windows of 64 KiB, GB/s",
        size: 64 << 20,
        window: (1 << 16) - 1,
        connections: 1,
        streams: 1,
        goal: Some(1.0),
    },
    Lane {
        title: "1 KiB, 4 connections of 8 streams, requests/s",
        size: 1 << 10,
        window: (1 << 16) - 1,
        connections: 4,
        streams: 8,
        goal: None,
    },
];

/// Answers and bytes of one turn.
#[derive(Clone, Copy, Default)]
struct Count {
    answers: u64,
    bytes: u64,
}

/// Cached blobs over HTTP/2.
pub(crate) fn pulls(options: &Options, shelf: &mut Shelf) -> Result<Vec<Table>> {
    let mut paths = Vec::new();
    for lane in &LANES {
        paths.push(shelf.blob(lane.size, 0)?);
    }
    pin("0")?;
    let files = nginx(shelf.root(), &shelf.files(), &Nginx::default())?;
    let how = Nginx {
        listen: " http2",
        http: "http2_max_concurrent_streams 256; http2_recv_buffer_size 256k;".to_owned(),
        ..Nginx::default()
    };
    let beside = nginx(shelf.root(), &shelf.files(), &how)?;
    let seawall = seawall(shelf.root(), &files.server.address, "", QUIET)?;
    pin("1")?;
    warm(shelf, [&seawall.server], &paths)?;
    let mut table = Table::new("Cached blobs, HTTP/2 prior knowledge", &["seawall", "nginx h2c"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (lane, path) in LANES.iter().zip(&paths) {
        let by_bytes = lane.size > 1 << 20;
        let mut row = Row::new(lane.title, if by_bytes { 2 } else { 0 }, 2);
        if let Some(goal) = lane.goal {
            row = row.to(1, Goal::AtLeast(goal));
        }
        for _ in 0..options.rounds {
            for (contestant, server) in [&seawall.server, &beside.server].into_iter().enumerate() {
                let begun = Instant::now();
                let count = runtime.block_on(turn(server, path, lane))?;
                let seconds = begun.elapsed().as_secs_f64();
                let figure = if by_bytes {
                    count.bytes as f64 / 1e9
                } else {
                    count.answers as f64
                };
                row.push(contestant, figure / seconds);
            }
        }
        table.add([row]);
    }
    Ok(vec![table])
}

async fn turn(server: &Server, path: &str, lane: &Lane) -> Result<Count> {
    let end = Instant::now() + TURN;
    let mut streams = JoinSet::new();
    for _ in 0..lane.connections {
        let io = TcpStream::connect(&server.address).await?;
        io.set_nodelay(true)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(lane.window)
            .initial_connection_window_size(lane.window)
            .handshake(TokioIo::new(io))
            .await?;
        // It ends when the last sender is dropped; a fault shows in the answers.
        tokio::spawn(connection);
        for _ in 0..lane.streams {
            let uri = format!("http://{}{path}", server.address);
            streams.spawn(ask_until(end, sender.clone(), uri));
        }
    }
    let mut sum = Count::default();
    for count in streams.join_all().await {
        let count = count?;
        sum.answers += count.answers;
        sum.bytes += count.bytes;
    }
    Ok(sum)
}

async fn ask_until(end: Instant, mut sender: SendRequest<Empty<Bytes>>, uri: String) -> Result<Count> {
    let mut count = Count::default();
    while Instant::now() < end {
        sender.ready().await?;
        let request = Request::get(&uri).body(Empty::new())?;
        let answer = sender.send_request(request).await?;
        if answer.status() != 200 {
            return Err(format!("{uri}: {}", answer.status()).into());
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            count.bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        count.answers += 1;
    }
    Ok(count)
}
