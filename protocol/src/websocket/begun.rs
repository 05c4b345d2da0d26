//! The first few bytes of something that is not all there.

/// At most `N` bytes, which is less than 256.
#[derive(Debug)]
pub(crate) struct Begun<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Begun<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// Adds as many of `bytes` as fit, and says how many.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let free = &mut self.bytes[usize::from(self.len)..];
        let added = free.len().min(bytes.len());
        free[..added].copy_from_slice(&bytes[..added]);
        self.len += added as u8;
        added
    }
}
