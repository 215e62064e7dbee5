//! How messages become bytes on a stream and back: protobuf, with buffers that fit.
//!
//! What tonic takes for each direction of each call (8 KiB) would be the larger part of what a stream at rest costs: agents
//! keep theirs open all the time, and most of what they say fits into a few hundred bytes. A large frame makes room for
//! itself.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that a stream keeps for what it reads, and for what it writes, before any frame needs more.
const BUFFER_BYTES: usize = 512;

/// Bytes of frames that are written in one piece, if so many wait.
const YIELD_BYTES: usize = 32 * 1024;

/// The codec of all services.
#[derive(Debug)]
pub struct FrameCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for FrameCodec<T, U> {
    fn default() -> Self {
        FrameCodec(PhantomData)
    }
}

impl<T, U> Codec for FrameCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
