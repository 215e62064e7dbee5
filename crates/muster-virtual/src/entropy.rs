//! Randomness of the process: every source of it ends in `getrandom`, which is this one here.
//!
//! The order in which a hash map is walked, what `rand::random` gives, which branch `select!` looks at first: all of it
//! follows from the seed. Each thread has a stream of its own, so that threads do not disturb each other's.

#![expect(unsafe_code, reason = "a symbol of the C library is replaced, and the buffer that it is given is raw memory")]

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Gives this thread's stream its seed.
pub(crate) fn seed(seed: u64) {
    STATE.set(seed);
}

/// SplitMix64.
fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Takes the place of the C library's `getrandom`.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length > 0 {
        // SAFETY: the caller vouches for the buffer.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
        for chunk in bytes.chunks_mut(8) {
            let random = next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
