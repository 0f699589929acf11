//! Text messages by SMPP 3.4, to an operator's or a provider's SMSC: one session an attempt, as a transmitter, so that
//! nothing that others wait for (receipts, answers of telephones) comes here.
//!
//! Not here: the alphabet and the parts (`short_text`), and the SMSC's report of whether a telephone really got it.

use super::{
    numbers,
    short_text::{Alphabet, ROOM_BYTES, ShortText},
};
use crate::notify::{Refused, http::innermost, message::Message, secret::Secret, tcp, words};
use futures::{SinkExt as _, StreamExt as _};
use rusmpp::{
    Command, CommandId, CommandStatus, Pdu,
    pdus::{BindTransmitter, SubmitSm},
    tokio_codec::CommandCodec,
    types::{COctetString, OctetString},
    values::{DataCoding, EsmClass, InterfaceVersion, Npi, Ton},
};
use std::{
    collections::{BTreeMap, VecDeque},
    str::FromStr as _,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::codec::Framed;

/// In the clear, and within TLS.
pub const PORT: u16 = 2_775;
pub const TLS_PORT: u16 = 3_550;
/// As long as the protocol's fields are, less the zero at their end.
const SYSTEM_ID_CHARS: usize = 15;
const PASSWORD_CHARS: usize = 8;
const SYSTEM_TYPE_CHARS: usize = 12;
/// `esm_class` of a part that begins with a user data header.
const HAS_HEADER: u8 = 0x40;
/// Of a sender's name; telephones show no more.
const NAME_CHARS: usize = 11;
/// E.164, with its `+`.
const NUMBER_CHARS: usize = 16;
/// A number of at most so many digits is a short code.
const SHORT_CODE_DIGITS: usize = 8;
/// Whatever longer comes from the SMSC ends the session: it has nothing to say to us but numbers.
const ANSWER_BYTES: usize = 4_096;
/// Messages that are on their way at once. After the SMSC has called that too fast it is one.
const WINDOW: usize = 10;
/// Limits are a second's; what was too fast is sent again so much later while there is time.
const PAUSE: Duration = Duration::from_secs(1);
/// Sooner than this it isn't worth a new session.
const THROTTLED_FOR: Duration = Duration::from_secs(10);
/// What is left of the time when numbers are given up, so that the others' fate can still be told.
const SPARE: Duration = Duration::from_millis(100);
/// Politeness: all is settled by then.
const UNBIND_WITHIN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte.
    #[default]
    Implicit,
    None,
}

#[derive(Clone, Debug)]
pub struct Config {
    /// `HOST` or `HOST:PORT`.
    pub server: String,
    pub tls: Tls,
    /// PEM file with the only authorities to be believed.
    pub ca: Option<String>,
    pub system_id: String,
    pub password: Secret,
    pub system_type: Option<String>,
    /// A number, a short code or a name; without one the account's own.
    pub from: Option<String>,
    pub to: Vec<String>,
}

impl Config {
    #[must_use]
    pub fn address(&self) -> String {
        tcp::address(&self.server, if self.tls == Tls::None { PORT } else { TLS_PORT })
    }

    /// All but the password, which may lie elsewhere.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        fits("system_id", &self.system_id, SYSTEM_ID_CHARS)?;
        if let Some(system_type) = &self.system_type {
            fits("system_type", system_type, SYSTEM_TYPE_CHARS)?;
        }
        if let Some(from) = &self.from {
            let (ton, ..) = source(from);
            fits("from", from, if ton == Ton::Alphanumeric { NAME_CHARS } else { NUMBER_CHARS })?;
        }
        numbers::check(&self.to)
    }
}

/// # Errors
/// A sentence, which doesn't say it.
pub fn check_password(text: &str) -> Result<(), String> {
    fits("password", text, PASSWORD_CHARS)
}

fn fits(key: &str, text: &str, chars: usize) -> Result<(), String> {
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if printable && (1..=chars).contains(&text.len()) {
        return Ok(());
    }
    Err(format!("`{key}` must have 1 to {chars} characters of ASCII: SMPP has no room for others"))
}

/// To all numbers in one session, within `within`.
///
/// # Errors
/// There is no session, or some number was refused.
pub async fn deliver(config: &Config, message: &Message, within: Duration) -> Result<String, Refused> {
    config.check().and_then(|()| check_password(config.password.expose())).map_err(Refused::for_good)?;
    let until = Instant::now() + within.saturating_sub(SPARE);
    let who = format!("the SMSC {}", config.address());
    let Ok(session) = timeout_at(until, Session::open(config)).await else {
        return Err(Refused::no_answer(&who, within));
    };
    let mut session = session.map_err(|refused| refused.said_by(&who))?;
    let mut round = Round::new(config, message);
    if let Err(why) = round.run(&mut session, until).await {
        round.give_up(&why);
    }
    // Whatever it says to that, the messages' fate is known.
    let _ = timeout(UNBIND_WITHIN, session.unbind()).await;
    numbers::settle(round.outcomes(&config.to)).map_err(|refused| refused.said_by(&format!("{who}:")))
}

/// Every part, in order.
fn submits(config: &Config, message: &Message, to: &str) -> Vec<SubmitSm> {
    let text = short_text(message);
    let unknown = (Ton::Unknown, Npi::Unknown, "");
    let (source_ton, source_npi, source) = config.from.as_deref().map_or(unknown, source);
    let ton = if to.starts_with('+') { Ton::International } else { Ton::Unknown };
    // The same for each attempt, so that a telephone joins the parts of a repetition with those it has.
    let reference = crc32c::crc32c(message.id.as_bytes()).to_le_bytes()[0];
    let submit = |octets: Vec<u8>| {
        SubmitSm::builder()
            .source_addr_ton(source_ton)
            .source_addr_npi(source_npi)
            .source_addr(field(source))
            .dest_addr_ton(ton)
            .dest_addr_npi(Npi::Isdn)
            .destination_addr(field(to.trim_start_matches('+')))
            // The codec's own default has a bit set that calls the message an acknowledgement.
            .esm_class(EsmClass::from(if text.has_headers() { HAS_HEADER } else { 0 }))
            .data_coding(match text.alphabet {
                Alphabet::Gsm => DataCoding::McSpecific,
                Alphabet::Ucs2 => DataCoding::Ucs2,
            })
            .short_message(OctetString::from_vec(octets).expect("a part is shorter than 255 octets"))
            .build()
    };
    text.octets(reference).into_iter().map(submit).collect()
}

/// What telephones show.
#[must_use]
pub fn short_text(message: &Message) -> ShortText {
    ShortText::new(&words::cut(&message.words.text, ROOM_BYTES))
}

/// Of a sender: the type of its number, the plan that it is of, and the number or name itself.
fn source(from: &str) -> (Ton, Npi, &str) {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match from.strip_prefix('+') {
        Some(number) if is_number(number) => (Ton::International, Npi::Isdn, number),
        None if is_number(from) && from.len() <= SHORT_CODE_DIGITS => {
            (Ton::NetworkSpecific, Npi::Unknown, from)
        }
        None if is_number(from) => (Ton::Unknown, Npi::Isdn, from),
        _ => (Ton::Alphanumeric, Npi::Unknown, from),
    }
}

fn field<const MAX: usize>(text: &str) -> COctetString<1, MAX> {
    COctetString::from_str(text).expect("the settings were checked against the fields' lengths")
}

/// What a status of SMPP 3.4 (5.1.3) means, of a session and of a message.
fn judge(status: CommandStatus) -> Result<(), Refused> {
    use CommandStatus as S;
    let code = u32::from(status);
    let mend = |key: &str| {
        Err(Refused::for_good(format!("refused with 0x{code:02X}; mend {key}, or ask the provider")))
    };
    match status {
        S::EsmeRok => Ok(()),
        S::EsmeRthrottled => Err(Refused::wait(format!("0x{code:02X}, too fast"), THROTTLED_FOR)),
        S::EsmeRmsgqful => Err(Refused::wait(format!("0x{code:02X}, its queue is full"), THROTTLED_FOR)),
        S::EsmeRinvpaswd => mend("`password`"),
        S::EsmeRinvsysid => mend("`system_id`"),
        S::EsmeRinvsystyp => mend("`system_type`"),
        S::EsmeRbindfail => mend("`system_id`, `password` or `system_type`"),
        S::EsmeRinvsrcadr | S::EsmeRinvsrcton | S::EsmeRinvsrcnpi => mend("`from`"),
        S::EsmeRinvdstadr | S::EsmeRinvdstton | S::EsmeRinvdstnpi => mend("the number in `to`"),
        S::EsmeRinvmsglen | S::EsmeRinvesmclass | S::EsmeRinvdcs => {
            Err(Refused::for_good(format!("refused with 0x{code:02X}: it takes no such text")))
        }
        S::EsmeRalybnd => Err(Refused::for_now(format!(
            "refused with 0x{code:02X}: another session of this `system_id` stands"
        ))),
        _ => Err(Refused::for_now(format!("refused with 0x{code:02X}"))),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Session {
    framed: Framed<Box<dyn Stream>, CommandCodec>,
    /// Sequence number of the last request.
    last: u32,
}

impl Session {
    /// Errors continue "the SMSC …".
    async fn open(config: &Config) -> Result<Self, Refused> {
        let address = config.address();
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|cause| Refused::for_now(format!("can't be reached: {cause}")))?;
        let stream: Box<dyn Stream> = match config.tls {
            Tls::None => Box::new(stream),
            Tls::Implicit => Box::new(tcp::encrypt(stream, &address, config.ca.as_deref()).await?),
        };
        let codec = CommandCodec::new().with_max_length(ANSWER_BYTES);
        let mut session = Self { framed: Framed::new(stream, codec), last: 0 };
        session.bind(config).await?;
        Ok(session)
    }

    async fn bind(&mut self, config: &Config) -> Result<(), Refused> {
        let bind = BindTransmitter::builder()
            .system_id(field(&config.system_id))
            .password(field(config.password.expose()))
            .system_type(field(config.system_type.as_deref().unwrap_or_default()))
            .interface_version(InterfaceVersion::Smpp3_4)
            .build();
        let sequence = self.request(bind).await?;
        loop {
            let answer = self.answer().await?;
            if answer.sequence_number() == sequence || answer.id() == CommandId::GenericNack {
                return judged(&answer, CommandId::BindTransmitterResp);
            }
        }
    }

    async fn unbind(&mut self) -> Result<(), Refused> {
        let sequence = self.request(Pdu::Unbind).await?;
        while self.answer().await?.sequence_number() != sequence {}
        Ok(())
    }

    /// Gives the sequence number that its answer will have.
    async fn request(&mut self, pdu: impl Into<Pdu>) -> Result<u32, Refused> {
        self.last += 1;
        self.send(Command::new(CommandStatus::EsmeRok, self.last, pdu)).await?;
        Ok(self.last)
    }

    async fn send(&mut self, command: Command) -> Result<(), Refused> {
        self.framed
            .send(command)
            .await
            .map_err(|cause| Refused::for_now(format!("can't be written to: {}", innermost(&cause))))
    }

    /// The next answer to a request of ours. What the SMSC asks meanwhile is answered. Can be dropped at any time.
    async fn answer(&mut self) -> Result<Command, Refused> {
        loop {
            let command = match self.framed.next().await {
                Some(Ok(command)) => command,
                Some(Err(cause)) => {
                    let cause = innermost(&cause);
                    return Err(Refused::for_now(format!("answered what isn't SMPP, or broke off: {cause}")));
                }
                None => return Err(Refused::for_now("closed the connection before it answered")),
            };
            let sequence = command.sequence_number();
            match command.id() {
                CommandId::EnquireLink => {
                    self.send(Command::new(CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp)).await?;
                }
                CommandId::Unbind => return Err(Refused::for_now("ended the session before it answered")),
                id if u32::from(id) & ANSWERS != 0 => return Ok(command),
                _ => {}
            }
        }
    }
}

/// The bit that answers have.
const ANSWERS: u32 = 0x8000_0000;

fn judged(answer: &Command, expected: CommandId) -> Result<(), Refused> {
    judge(answer.status())?;
    if answer.id() == expected {
        return Ok(());
    }
    Err(Refused::for_now(format!("answered with command 0x{:08X}", u32::from(answer.id()))))
}

/// A part of the text to one number, both by their places.
#[derive(Clone, Copy)]
struct Part {
    number: usize,
    part: usize,
}

/// What is known of a number.
#[derive(Clone)]
struct Fate {
    /// Parts that weren't accepted yet.
    missing: usize,
    /// For good where that is so, or the last that was heard.
    refused: Option<Refused>,
    /// Nothing more is sent to it.
    settled: bool,
}

/// One text's way to all numbers.
struct Round {
    submits: Vec<Vec<SubmitSm>>,
    waiting: VecDeque<Part>,
    /// By sequence number.
    sent: BTreeMap<u32, Part>,
    fates: Vec<Fate>,
    window: usize,
    not_before: Instant,
}

impl Round {
    fn new(config: &Config, message: &Message) -> Self {
        let submits: Vec<Vec<SubmitSm>> = config.to.iter().map(|to| submits(config, message, to)).collect();
        let parts = |(number, parts): (usize, &Vec<SubmitSm>)| {
            (0..parts.len()).map(move |part| Part { number, part }).collect::<Vec<_>>()
        };
        let fate = |parts: &Vec<SubmitSm>| Fate { missing: parts.len(), refused: None, settled: false };
        Self {
            waiting: submits.iter().enumerate().flat_map(parts).collect(),
            sent: BTreeMap::new(),
            fates: submits.iter().map(fate).collect(),
            submits,
            window: WINDOW,
            not_before: Instant::now(),
        }
    }

    /// Until each number's fate is known.
    ///
    /// # Errors
    /// It isn't, since the session or the time is over.
    async fn run(&mut self, session: &mut Session, until: Instant) -> Result<(), Refused> {
        let late = || Refused::for_now("no answer in time");
        loop {
            if Instant::now() >= self.not_before {
                timeout_at(until, self.send(session)).await.map_err(|_| late())??;
            }
            if self.sent.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            let pausing = !self.waiting.is_empty() && Instant::now() < self.not_before;
            let wake = if pausing { self.not_before.min(until) } else { until };
            match timeout_at(wake, session.answer()).await {
                Ok(answer) => self.take(&answer?),
                Err(_) if Instant::now() >= until => return Err(late()),
                Err(_) => {}
            }
        }
    }

    /// As much as the window has room for.
    async fn send(&mut self, session: &mut Session) -> Result<(), Refused> {
        while self.sent.len() < self.window {
            let Some(next) = self.waiting.pop_front() else { break };
            if self.fates[next.number].settled {
                continue;
            }
            let sequence = session.request(self.submits[next.number][next.part].clone()).await?;
            self.sent.insert(sequence, next);
        }
        Ok(())
    }

    fn take(&mut self, answer: &Command) {
        let Some(part) = self.sent.remove(&answer.sequence_number()) else { return };
        let fate = &mut self.fates[part.number];
        match judged(answer, CommandId::SubmitSmResp) {
            Ok(()) => {
                fate.missing -= 1;
                fate.settled |= fate.missing == 0;
            }
            Err(refused) if refused.after.is_some() && !fate.settled => {
                fate.refused = Some(refused);
                self.waiting.push_front(part);
                self.window = 1;
                self.not_before = Instant::now() + PAUSE;
            }
            Err(_) if fate.settled => {}
            Err(refused) => {
                fate.refused = Some(refused);
                fate.settled = true;
            }
        }
    }

    /// Of whom nothing is known `why` is said, or that the SMSC called it too fast.
    fn give_up(&mut self, why: &Refused) {
        for fate in self.fates.iter_mut().filter(|fate| !fate.settled) {
            fate.refused.get_or_insert_with(|| why.clone());
        }
    }

    fn outcomes(self, to: &[String]) -> Vec<(String, Result<(), Refused>)> {
        let told = |fate: Fate| match fate.refused {
            _ if fate.missing == 0 => Ok(()),
            Some(refused) => Err(refused),
            None => unreachable!("a number's fate is known, or it was given up"),
        };
        to.iter().cloned().zip(self.fates.into_iter().map(told)).collect()
    }
}

#[cfg(test)]
#[path = "smpp_tests.rs"]
mod tests;
