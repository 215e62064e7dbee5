//! Fingerprints of requests: what a repeated key or request id is compared by.

use std::collections::BTreeMap;

use prost::Message;
use sha2::{Digest, Sha256};

/// First 16 bytes of the SHA-256 over the name of the call and an encoded message that holds no map: the encoding of such a
/// message is the same in every process.
pub fn of(call: &str, message: &impl Message) -> [u8; 16] {
    finish(start(call, message))
}

/// The same for a message whose labels were taken out: a map has no order on the wire, so they are hashed in their own.
pub fn with_labels(call: &str, message: &impl Message, labels: &BTreeMap<String, String>) -> [u8; 16] {
    let mut hash = start(call, message);
    for text in labels.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    finish(hash)
}

fn start(call: &str, message: &impl Message) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update((call.len() as u64).to_be_bytes());
    hash.update(call);
    hash.update(message.encode_to_vec());
    hash
}

fn finish(hash: Sha256) -> [u8; 16] {
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&hash.finalize()[..16]);
    fingerprint
}
