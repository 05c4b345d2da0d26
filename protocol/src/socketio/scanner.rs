use super::{ENVELOPE_DEPTH, MAX_DEPTH};

/// A cursor that checks JSON while it moves over it, without recursion. Each method that moves
/// returns `None` where `JSON.parse` would fail; the cursor is of no use after that.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Deepest nesting.
    most: usize,
}

/// The arrays and objects around the cursor: a bit for each, set for an object.
struct Open {
    depth: usize,
    most: usize,
    objects: [u64; (MAX_DEPTH + ENVELOPE_DEPTH).div_ceil(64)],
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            most: MAX_DEPTH,
        }
    }

    /// The same for a message with a packet's JSON inside.
    pub(super) fn of_message(text: &'a str) -> Self {
        Self {
            most: MAX_DEPTH + ENVELOPE_DEPTH,
            ..Self::new(text)
        }
    }

    /// Where the cursor is, in bytes.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Moves over `byte` if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    pub(super) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Only whitespace is left.
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_whitespace();
        (self.at == self.bytes.len()).then_some(())
    }

    /// Moves over a value.
    pub(super) fn value(&mut self) -> Option<()> {
        let mut open = Open::new(self.most);
        self.first_leaf(&mut open)?;
        if open.depth == 0 {
            return Some(());
        }
        self.close(&mut open)
    }

    /// Moves over what is left of an array, its closing bracket included, from behind one of its
    /// elements.
    pub(super) fn rest_of_array(&mut self) -> Option<()> {
        let mut open = Open::new(self.most);
        open.push(false)?;
        self.close(&mut open)
    }

    /// Moves over the values of an array without brackets around them, one or more, to the end.
    pub(super) fn values(&mut self) -> Option<()> {
        let mut open = Open::new(self.most);
        open.push(false)?;
        loop {
            self.first_leaf(&mut open)?;
            while open.depth > 1 {
                self.step(&mut open)?;
            }
            self.skip_whitespace();
            if self.peek().is_none() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    /// Moves over a string, from its opening quote, and tells whether it has escapes.
    pub(super) fn string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        let mut escaped = false;
        loop {
            self.at = find_special(self.bytes, self.at);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return None,
            }
        }
    }

    /// Moves over a number.
    pub(super) fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// Moves over a value, or only into it: to behind the first scalar or empty container, which
    /// leaves those around it open.
    fn first_leaf(&mut self, open: &mut Open) -> Option<()> {
        loop {
            self.skip_whitespace();
            match self.peek()? {
                b'"' => return self.string().map(drop),
                b'{' => {
                    self.at += 1;
                    self.skip_whitespace();
                    open.push(true)?;
                    if self.take(b'}').is_some() {
                        open.pop();
                        return Some(());
                    }
                    self.key()?;
                }
                b'[' => {
                    self.at += 1;
                    self.skip_whitespace();
                    open.push(false)?;
                    if self.take(b']').is_some() {
                        open.pop();
                        return Some(());
                    }
                }
                b't' => return self.literal(b"true"),
                b'f' => return self.literal(b"false"),
                b'n' => return self.literal(b"null"),
                _ => return self.number(),
            }
        }
    }

    /// Moves from behind a value to where the last of `open` is closed.
    fn close(&mut self, open: &mut Open) -> Option<()> {
        while open.depth > 0 {
            self.step(open)?;
        }
        Some(())
    }

    /// Moves from behind a value to behind the next one, or to behind the bracket that closes the
    /// innermost container.
    fn step(&mut self, open: &mut Open) -> Option<()> {
        self.skip_whitespace();
        let byte = self.peek()?;
        self.at += 1;
        match (byte, open.in_object()) {
            (b',', false) => self.first_leaf(open),
            (b',', true) => {
                self.key()?;
                self.first_leaf(open)
            }
            (b']', false) | (b'}', true) => {
                open.pop();
                Some(())
            }
            _ => None,
        }
    }

    fn key(&mut self) -> Option<()> {
        self.skip_whitespace();
        self.string()?;
        self.skip_whitespace();
        self.take(b':')
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    /// Moves over one digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        self.at += literal.len();
        rest.starts_with(literal).then_some(())
    }
}

impl Open {
    fn new(most: usize) -> Self {
        Self {
            depth: 0,
            most,
            objects: [0; (MAX_DEPTH + ENVELOPE_DEPTH).div_ceil(64)],
        }
    }

    fn push(&mut self, object: bool) -> Option<()> {
        if self.depth == self.most {
            return None;
        }
        let word = self.objects.get_mut(self.depth / 64)?;
        let bit = self.depth % 64;
        *word = *word & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost is an object.
    fn in_object(&self) -> bool {
        let top = self.depth.wrapping_sub(1);
        self.objects
            .get(top / 64)
            .is_some_and(|word| word >> (top % 64) & 1 == 1)
    }
}

/// Where the first byte from `start` is that a JSON string cannot hold as it is: a quote, a
/// backslash or a control character; the end if there is none. Eight bytes at a time.
#[inline]
pub(super) fn find_special(bytes: &[u8], start: usize) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES * 0x80;

    let mut at = start;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = word ^ (ONES * u64::from(b'"'));
        let backslashes = word ^ (ONES * u64::from(b'\\'));
        let found = (word.wrapping_sub(ONES * 0x20) & !word
            | quotes.wrapping_sub(ONES) & !quotes
            | backslashes.wrapping_sub(ONES) & !backslashes)
            & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at)
        && !matches!(byte, b'"' | b'\\' | ..0x20)
    {
        at += 1;
    }
    at
}
