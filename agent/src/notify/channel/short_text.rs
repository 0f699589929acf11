//! A text as telephones take it: in which alphabet, and in how many short messages that are joined again.
//!
//! Not here: who carries them (`smpp`).

/// Of one text; each costs a message, and who is told reads no more.
pub const PARTS_MAX: usize = 5;
/// What a part of several begins with (3GPP TS 23.040, 9.2.3.24.1): its own length, "part of several" with an 8-bit
/// reference, and three numbers.
pub const HEADER_BYTES: usize = 6;
/// Of a text before it is split; in characters of one octet its parts hold somewhat more.
pub const ROOM_BYTES: usize = 640;
const MARK: char = '…';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// GSM 03.38, an octet a character, of which only those are used that are the same in ASCII and Latin 1: whatever
    /// a provider takes its default alphabet for, it reads them alike.
    Gsm,
    /// Two octets a character, and four where UTF-16 has a pair.
    Ucs2,
}

impl Alphabet {
    /// Of a text alone, and of one that is a part: what a message holds, less the header.
    const fn room(self) -> (usize, usize) {
        match self {
            Self::Gsm => (160, 153),
            Self::Ucs2 => (70, 67),
        }
    }

    fn units(self, character: char) -> usize {
        match self {
            Self::Gsm => 1,
            Self::Ucs2 => character.len_utf16(),
        }
    }

    fn octets(self, text: &str) -> Vec<u8> {
        match self {
            Self::Gsm => text.bytes().collect(),
            Self::Ucs2 => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortText {
    pub alphabet: Alphabet,
    /// 1 to `PARTS_MAX`.
    parts: Vec<String>,
}

impl ShortText {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let plain = plain(text);
        let (alphabet, text) =
            if plain.chars().all(is_gsm) { (Alphabet::Gsm, plain) } else { (Alphabet::Ucs2, tidy(text)) };
        let (alone, part) = alphabet.room();
        let whole = split(&text, alphabet, alone);
        let mut parts = if whole.len() <= 1 { whole } else { split(&text, alphabet, part) };
        if parts.len() > PARTS_MAX {
            parts.truncate(PARTS_MAX);
            mark(&mut parts[PARTS_MAX - 1], alphabet, part);
        }
        if parts.is_empty() {
            parts.push(String::new());
        }
        Self { alphabet, parts }
    }

    /// As it is read once it is joined.
    #[must_use]
    pub fn joined(&self) -> String {
        self.parts.concat()
    }

    /// Whether each of `octets` begins with a header.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        self.parts.len() > 1
    }

    /// Of each part. `reference` tells this text's parts from those of others.
    #[must_use]
    pub fn octets(&self, reference: u8) -> Vec<Vec<u8>> {
        let count = u8::try_from(self.parts.len()).expect("there are at most PARTS_MAX parts");
        let part = |(number, text): (u8, &String)| {
            let header: [u8; HEADER_BYTES] = [5, 0, 3, reference, count, number];
            let mut octets = if self.has_headers() { header.to_vec() } else { Vec::new() };
            octets.extend(self.alphabet.octets(text));
            octets
        };
        (1..=count).zip(&self.parts).map(part).collect()
    }
}

/// With what our own words have beside the plain alphabet written in it: half as many characters fit into a message
/// of another.
fn plain(text: &str) -> String {
    tidy(text).replace('[', "(").replace(']', ")").replace(MARK, "...")
}

fn tidy(text: &str) -> String {
    text.trim().replace(|c: char| c.is_control() && c != '\n', " ")
}

/// The same in GSM 03.38, in ASCII and in Latin 1.
fn is_gsm(character: char) -> bool {
    let differs = |c| matches!(c, '$' | '@' | '[' | '\\' | ']' | '^' | '_' | '`' | '{' | '|' | '}' | '~');
    character == '\n' || ((' '..='~').contains(&character) && !differs(character))
}

/// Whole characters only.
fn split(text: &str, alphabet: Alphabet, room: usize) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut left = 0;
    for character in text.chars() {
        let units = alphabet.units(character);
        if units > left {
            parts.push(String::new());
            left = room;
        }
        left -= units;
        parts.last_mut().expect("one was begun").push(character);
    }
    parts
}

/// The end of what was cut, shown as such.
fn mark(part: &mut String, alphabet: Alphabet, room: usize) {
    let mark = if alphabet == Alphabet::Gsm { "...".to_owned() } else { MARK.to_string() };
    let length = |text: &str| text.chars().map(|c| alphabet.units(c)).sum::<usize>();
    while length(part) + mark.chars().count() > room && part.pop().is_some() {}
    part.push_str(&mark);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &ShortText) -> Vec<usize> {
        text.octets(7).iter().map(Vec::len).collect()
    }

    #[test]
    fn what_every_provider_reads_alike_is_one_octet_a_character() {
        let text = ShortText::new("[FIRING] n1 is dead: checkout moved to n2 (shop)\nsince 09:00…");
        assert_eq!(text.alphabet, Alphabet::Gsm);
        let expected = "(FIRING) n1 is dead: checkout moved to n2 (shop)\nsince 09:00...";
        assert_eq!(text.octets(7), [expected.as_bytes()]);
        for other in ["a_b", "a@b", "5 $", "é", "主机", "a`b", "{}", "x^y", "~", "\\", "|"] {
            assert_eq!(ShortText::new(other).alphabet, Alphabet::Ucs2, "{other}");
        }
        // Nothing is rewritten where that doesn't help.
        assert_eq!(ShortText::new("[主机]…").joined(), "[主机]…");
        assert_eq!(ShortText::new("a\tb\r\nc").joined(), "a b \nc");
    }

    #[test]
    fn chinese_is_big_endian_ucs_2() {
        assert_eq!(ShortText::new("主机a").octets(7), [[0x4e, 0x3b, 0x67, 0x3a, 0, 0x61]]);
    }

    #[test]
    fn a_part_more_only_where_one_is_needed() {
        assert_eq!(lengths(&ShortText::new(&"a".repeat(160))), [160]);
        assert_eq!(lengths(&ShortText::new(&"a".repeat(161))), [6 + 153, 6 + 8]);
        assert_eq!(lengths(&ShortText::new(&"主".repeat(70))), [140]);
        assert_eq!(lengths(&ShortText::new(&"主".repeat(71))), [6 + 134, 6 + 8]);
        assert_eq!(lengths(&ShortText::new("")), [0]);
        let two = ShortText::new(&"a".repeat(161)).octets(0xab);
        assert_eq!(two[0][..7], [5, 0, 3, 0xab, 2, 1, b'a']);
        assert_eq!(two[1][..7], [5, 0, 3, 0xab, 2, 2, b'a']);
    }

    #[test]
    fn no_character_is_torn_and_what_is_too_long_shows_its_end() {
        // 66 units, then a pair that would be torn at 67.
        let text = ShortText::new(&format!("{}😀{}", "主".repeat(66), "机".repeat(10)));
        assert_eq!(lengths(&text), [6 + 132, 6 + 4 + 20]);
        for (letter, end) in [('a', "a..."), ('主', "主…"), ('😀', "😀…")] {
            let long = ShortText::new(&letter.to_string().repeat(2_000));
            assert_eq!(long.parts.len(), PARTS_MAX);
            assert!(lengths(&long).iter().all(|octets| *octets <= 6 + 153));
            assert!(long.joined().ends_with(end), "{}", long.joined());
        }
    }
}
