/// Masks `bytes`, or takes the mask off again, which is the same.
///
/// The mask's first byte belongs to the first of `bytes`.
#[inline]
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let once = u32::from_ne_bytes(mask);
    let twice = u64::from(once) << 32 | u64::from(once);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    let (half, rest) = rest.as_chunks_mut::<4>();
    if let [half] = half {
        *half = (u32::from_ne_bytes(*half) ^ once).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_byte_of_the_mask() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..200 {
            for start in 0..9 {
                let plain: Vec<u8> = (0..start + len).map(|it| it as u8).collect();
                let mut bytes = plain.clone();
                apply_mask(&mut bytes[start..], mask);
                for (index, byte) in bytes.iter().enumerate() {
                    let mask = match index.checked_sub(start) {
                        Some(index) => mask[index % 4],
                        None => 0,
                    };
                    assert_eq!(*byte, plain[index] ^ mask, "{index} of {len} at {start}");
                }
                apply_mask(&mut bytes[start..], mask);
                assert_eq!(bytes, plain);
            }
        }
    }
}
