//! A wire to a CQL database, on which statements are lost: from a certain one on, or some of them;
//! and which may be slow, silent or cut. Frames are those of version 4 of the protocol.
#![allow(dead_code, reason = "each of its users needs another part")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const HEADER_BYTES: usize = 9;
const EXECUTE: u8 = 0x0a;
const BATCH: u8 = 0x0d;
/// As whoever asked is told of a statement that was lost: nobody knows, or it was not even tried.
const WRITE_TIMEOUT: u32 = 0x1100;
const UNAVAILABLE: u32 = 0x1000;
const SERIAL: u16 = 0x0008;

/// What is lost. Statements are counted from zero, when the loss is arranged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// This statement and all later ones: as if the process had died before it.
    From(u32),
    /// One statement, which the database never sees.
    Request(u32),
    /// The answer to one statement, which the database runs.
    Answer(u32),
    /// Each statement whose number is a multiple of this, but for the first: in turns what the
    /// database never sees, and the answer to what it runs.
    Every(u32),
    /// Of each batch, in turns, the answer to it, and itself. Nobody is told that it was lost.
    Batches,
}

/// How the wire is, for whatever is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weather {
    #[default]
    Fair,
    /// Answers take so much longer.
    Late(Duration),
    /// What is asked is run, and the answers are under way until the weather turns.
    Silent,
    /// Connections break, and there are no new ones.
    Cut,
}

#[derive(Default)]
struct State {
    loss: Option<Loss>,
    n_statements: u32,
    n_batches: u32,
    /// Streams whose next answer is lost, and is made up or not.
    unanswered: HashSet<[u8; 2]>,
    unheard: HashSet<[u8; 2]>,
}

enum Fate {
    Passes,
    Refused,
    Lost,
    Unseen,
}

/// See above. Nothing is lost until a loss is arranged.
pub(crate) struct Wire {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

impl Wire {
    /// A wire to the database at `to`.
    pub(crate) async fn to(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, state) = (to.to_owned(), Arc::<Mutex<State>>::default());
        let (weather, now) = watch::channel(Weather::Fair);
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *now.borrow() != Weather::Cut {
                    tokio::spawn(carry(client, to.clone(), Arc::clone(&shared), now.clone()));
                }
            }
        });
        Self { address, state, weather, accepting }
    }

    /// Whatever is asked or answered from now on meets this weather.
    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Statements since a loss was arranged.
    pub(crate) fn n_statements(&self) -> u32 {
        self.state.lock().unwrap().n_statements
    }

    pub(crate) fn lose(&self, loss: Loss) {
        let mut state = self.state.lock().unwrap();
        (state.loss, state.n_statements, state.n_batches) = (Some(loss), 0, 0);
    }

    /// Batches since a loss was arranged.
    pub(crate) fn n_batches(&self) -> u32 {
        self.state.lock().unwrap().n_batches
    }

    /// Loses nothing any more; whether something was lost.
    pub(crate) fn mend(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let (n_statements, n_batches) = (state.n_statements, state.n_batches);
        state.loss.take().is_some_and(|loss| match loss {
            Loss::Batches => n_batches > 0,
            Loss::From(n) | Loss::Request(n) | Loss::Answer(n) | Loss::Every(n) => n < n_statements,
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn fate(&mut self, stream: [u8; 2]) -> Fate {
        let number = self.n_statements;
        self.n_statements += 1;
        match self.loss {
            Some(Loss::From(n)) if number >= n => Fate::Refused,
            Some(Loss::Request(n)) if number == n => Fate::Lost,
            Some(Loss::Answer(n)) if number == n => {
                self.unanswered.insert(stream);
                Fate::Passes
            }
            Some(Loss::Every(n)) if number > 0 && number.is_multiple_of(2 * n) => Fate::Lost,
            Some(Loss::Every(n)) if number > 0 && number.is_multiple_of(n) => {
                self.unanswered.insert(stream);
                Fate::Passes
            }
            _ => Fate::Passes,
        }
    }

    fn fate_of_batch(&mut self, stream: [u8; 2]) -> Fate {
        let number = self.n_batches;
        self.n_batches += 1;
        match self.loss {
            Some(Loss::Batches) if number.is_multiple_of(2) => {
                self.unheard.insert(stream);
                Fate::Passes
            }
            Some(Loss::Batches) => Fate::Unseen,
            _ => Fate::Passes,
        }
    }
}

/// One connection, until an end of it closes or the wire is cut.
async fn carry(
    client: TcpStream,
    to: String,
    state: Arc<Mutex<State>>,
    mut weather: watch::Receiver<Weather>,
) {
    let Ok(server) = TcpStream::connect(&to).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let to_client = Arc::new(tokio::sync::Mutex::new(to_client));
    let answers = Arc::clone(&to_client);
    tokio::select! {
        () = requests(from_client, to_server, answers, Arc::clone(&state)) => (),
        () = answered(from_server, to_client, state, weather.clone()) => (),
        _ = weather.wait_for(|now| *now == Weather::Cut) => (),
    }
}

type Client = Arc<tokio::sync::Mutex<OwnedWriteHalf>>;

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answers: Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(frame) = read(&mut from).await {
        let stream = [frame[2], frame[3]];
        let fate = match frame[4] {
            EXECUTE => state.lock().unwrap().fate(stream),
            BATCH => state.lock().unwrap().fate_of_batch(stream),
            _ => Fate::Passes,
        };
        let sent = match fate {
            Fate::Passes => to.write_all(&frame).await,
            Fate::Unseen => Ok(()),
            Fate::Refused => answers.lock().await.write_all(&error(stream, UNAVAILABLE)).await,
            Fate::Lost => answers.lock().await.write_all(&error(stream, WRITE_TIMEOUT)).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn answered(
    mut from: OwnedReadHalf,
    to: Client,
    state: Arc<Mutex<State>>,
    mut weather: watch::Receiver<Weather>,
) {
    while let Some(frame) = read(&mut from).await {
        // None is lost for good while its connection lives: drivers need not live with that.
        if weather.wait_for(|now| *now != Weather::Silent).await.is_err() {
            return;
        }
        let stream = [frame[2], frame[3]];
        if state.lock().unwrap().unheard.remove(&stream) {
            continue;
        }
        let is_lost = state.lock().unwrap().unanswered.remove(&stream);
        let frame = if is_lost { error(stream, WRITE_TIMEOUT) } else { frame };
        let now = *weather.borrow();
        match now {
            Weather::Silent | Weather::Cut => (),
            Weather::Late(by) => {
                let to = Arc::clone(&to);
                // On its own: each answer is late, not each one later than the one before.
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    // The connection may be gone by now.
                    let _gone = to.lock().await.write_all(&frame).await;
                });
            }
            Weather::Fair => {
                if to.lock().await.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next frame, header included.
async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEADER_BYTES];
    from.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]) as usize;
    frame.resize(HEADER_BYTES + length, 0);
    from.read_exact(&mut frame[HEADER_BYTES..]).await.ok()?;
    Some(frame)
}

/// A frame that says that a statement failed.
fn error(stream: [u8; 2], code: u32) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    let text = b"lost on the wire";
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text);
    body.extend_from_slice(&SERIAL.to_be_bytes());
    // Of one replica that had to answer, none did.
    let (received, needed) = (0_u32, 1_u32);
    if code == WRITE_TIMEOUT {
        body.extend_from_slice(&received.to_be_bytes());
        body.extend_from_slice(&needed.to_be_bytes());
        body.extend_from_slice(&[0, 3]);
        body.extend_from_slice(b"CAS");
    } else {
        body.extend_from_slice(&needed.to_be_bytes());
        body.extend_from_slice(&received.to_be_bytes());
    }
    let mut frame = vec![0x84, 0, stream[0], stream[1], 0];
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}
