//! Somewhere to send profiles to, for profilers that do not sample before they are connected: it takes every gRPC
//! call, throws away what comes and answers with an empty message (RFC 9113; gRPC over HTTP/2).

use anyhow::Context;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// The address on which it listens.
pub(super) const ADDRESS: &str = "127.0.0.1:11000";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Bytes of a client's first message.
const PREFACE_BYTES: usize = 24;

/// Listens until this process ends.
pub(super) fn open() -> anyhow::Result<()> {
    let listener = TcpListener::bind(ADDRESS).with_context(|| format!("cannot listen on {ADDRESS}"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away ends its thread; that is all there is to it.
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE_BYTES])?;
    send(&mut stream, SETTINGS, 0, 0, &[])?;
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let (length, id) = (u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes(id));
        payload.resize(length as usize, 0);
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[])?,
            PING if flags & ACK == 0 => send(&mut stream, PING, ACK, 0, &payload)?,
            DATA if length > 0 => {
                for window in [0, id] {
                    send(&mut stream, WINDOW_UPDATE, 0, window, &length.to_be_bytes())?;
                }
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            answer(&mut stream, id)?;
        }
    }
}

/// An empty message and the status 0.
fn answer(stream: &mut TcpStream, id: u32) -> std::io::Result<()> {
    // HPACK (RFC 7541): 0x88 is `:status: 200`; 0x5f a literal for the indexed name `content-type`; 0x00 a literal
    // with a name of its own.
    let headers = b"\x88\x5f\x10application/grpc";
    send(stream, HEADERS, END_HEADERS, id, headers)?;
    send(stream, DATA, 0, id, &[0; 5])?;
    send(stream, HEADERS, END_HEADERS | END_STREAM, id, b"\x00\x0bgrpc-status\x010")
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame)
}
