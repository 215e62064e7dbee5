//! Requests that no method sees: too large, malformed, or for nobody.

use bytes::{Buf as _, BufMut as _, Bytes};
use muster_proto::agent_v1::{self as agent_wire, close};
use muster_proto::v1;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::world::{World, refused, text};

const SEND: &str = "/muster.v1.MessageService/SendMessage";
const SEND_STREAM: &str = "/muster.v1.MessageService/SendMessages";
const SESSION: &str = "/muster.agent.v1.AgentService/Session";

/// No protobuf message begins with these bytes: a field of a wire type that does not exist.
const GARBAGE: &[u8] = &[0xff; 16];

/// Sends bytes as they are, and reads them as they come.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

async fn client(world: &World) -> Grpc<Channel> {
    let mut client = Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    client
}

async fn call(world: &World, path: &'static str, bytes: impl Into<Bytes>) -> Result<Bytes, Status> {
    let path = path.parse().unwrap();
    client(world).await.unary(Request::new(bytes.into()), path, Raw).await.map(tonic::Response::into_inner)
}

/// Sends each part as a message of one stream: what is answered, and how it ends.
async fn stream(world: &World, path: &'static str, parts: Vec<Bytes>) -> (Vec<Bytes>, Result<(), Status>) {
    let requests = Request::new(tokio_stream::iter(parts));
    let answers = client(world).await.streaming(requests, path.parse().unwrap(), Raw).await;
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut read = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => read.push(answer),
            Ok(None) => return (read, Ok(())),
            Err(status) => return (read, Err(status)),
        }
    }
}

fn zeros(bytes: usize) -> Bytes {
    Bytes::from(vec![0; bytes])
}

#[tokio::test]
async fn a_request_that_is_too_large_is_told_the_limit() {
    let world = World::with_bots(&["a"]).await;
    let limit = |status: &Status| status.get_error_details().error_info().unwrap().metadata["limit_bytes"].clone();
    let status = refused(call(&world, SEND, zeros(5 << 20)).await, Code::InvalidArgument, "REQUEST_TOO_LARGE");
    assert_eq!(limit(&status), (4 << 20).to_string());
    assert!(status.message().contains("send less at a time"));
    let frame = v1::SendMessagesRequest { messages: vec![text("a", "r", "x")] }.encode_to_vec();
    let (answers, end) = stream(&world, SEND_STREAM, vec![frame.into(), zeros(5 << 20)]).await;
    let status = refused(end, Code::InvalidArgument, "REQUEST_TOO_LARGE");
    assert_eq!((answers.len(), limit(&status)), (1, (4 << 20).to_string()));
    // A fleet may be larger.
    let fleet = call(&world, "/muster.v1.FleetService/ApplyFleet", zeros(5 << 20)).await;
    refused(fleet, Code::InvalidArgument, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_says_so() {
    let world = World::with_bots(&["a"]).await;
    refused(call(&world, SEND, GARBAGE).await, Code::InvalidArgument, "REQUEST_MALFORMED");
    // The body of the text is no text: the message names the field, and not what is in it.
    let mut bytes = v1::SendMessageRequest { message: Some(text("a", "r", "secret")) }.encode_to_vec();
    let last = bytes.len() - 1;
    bytes[last] = 0xff;
    let status = refused(call(&world, SEND, bytes).await, Code::InvalidArgument, "REQUEST_MALFORMED");
    assert!(status.message().contains("Text.body") && !status.message().contains("secre"), "{}", status.message());
    let frame = v1::SendMessagesRequest { messages: vec![text("a", "r", "x")] }.encode_to_vec();
    let (answers, end) = stream(&world, SEND_STREAM, vec![frame.into(), GARBAGE.into()]).await;
    assert_eq!(answers.len(), 1, "what came before is answered");
    refused(end, Code::InvalidArgument, "REQUEST_MALFORMED");
}

#[tokio::test]
async fn an_agent_whose_frame_cannot_be_read_is_told_so() {
    let world = World::with_bots(&[]).await;
    let hello = agent_wire::agent_frame::Body::Hello(crate::agent::hello());
    let hello = agent_wire::AgentFrame { seq: 1, ack: 0, body: Some(hello) }.encode_to_vec();
    for parts in [vec![hello.clone().into(), GARBAGE.into()], vec![hello.into(), zeros(5 << 20)], vec![GARBAGE.into()]]
    {
        let (answers, end) = stream(&world, SESSION, parts).await;
        end.unwrap();
        let last = agent_wire::ServerFrame::decode(answers.last().unwrap().clone()).unwrap();
        let Some(agent_wire::server_frame::Body::Close(close)) = last.body else { panic!("no Close: {last:?}") };
        assert_eq!((close.reason(), close.permanent), (close::Reason::ProtocolFault, false), "{}", close.message);
    }
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_unknown() {
    let world = World::with_bots(&[]).await;
    for path in ["/muster.v1.MessageService/Teleport", "/muster.v9.MessageService/SendMessage", "/"] {
        refused(call(&world, path, GARBAGE).await, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}

#[tokio::test]
async fn a_compressed_request_is_refused_by_name() {
    let world = World::with_bots(&[]).await;
    let mut request = Request::new(Bytes::from_static(GARBAGE));
    request.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    let answer = client(&world).await.unary(request, SEND.parse().unwrap(), Raw).await;
    refused(answer, Code::Unimplemented, "COMPRESSION_UNSUPPORTED");
}
