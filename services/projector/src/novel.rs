//! Which objects of a first full read are certainly new.
//!
//! Looking each one up to find nothing is what a first read would mostly do. A Bloom filter of fixed size says "new" only
//! of what it was never told; where it is not sure, the store is asked. It is lost with the process, and with a round
//! that fails: then the store is asked for everything.

use forestsync_domain::ObjectGuid;

/// Bits per source: a million objects leave one in fifty to be looked up.
const BITS: u64 = 1 << 23;

/// The objects of one source that were written since its stream was empty.
#[derive(Debug)]
pub(crate) struct Novel {
    bits: Vec<u64>,
}

impl Novel {
    pub(crate) fn new() -> Self {
        Self { bits: vec![0; (BITS / 64) as usize] }
    }

    /// Takes note of an object; true if it was certainly not noted before.
    pub(crate) fn insert(&mut self, object: ObjectGuid) -> bool {
        let number = u128::from_be_bytes(*object.as_bytes());
        let (mut state, step) = (mix(number as u64), mix((number >> 64) as u64) | 1);
        let mut is_new = false;
        for _ in 0..4 {
            state = mix(state.wrapping_add(step));
            let (word, bit) = ((state % BITS / 64) as usize, 1u64 << (state % 64));
            if let Some(word) = self.bits.get_mut(word) {
                is_new |= *word & bit == 0;
                *word |= bit;
            }
        }
        is_new
    }
}

/// Spreads the bits of a number (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_calls_new_what_it_was_told() {
        let mut novel = Novel::new();
        let guid = |n: u32| {
            let mut bytes = [7; 16];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            ObjectGuid::from_bytes(bytes)
        };
        let unsure = (0..100_000).filter(|n| !novel.insert(guid(*n))).count();
        assert!(unsure < 100, "{unsure} of 100000 would be looked up for nothing");
        assert!(!(0..100_000).any(|n| novel.insert(guid(n))));
    }
}
