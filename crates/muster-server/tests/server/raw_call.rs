//! Calls by their descriptors: whatever the API has, without a line of code for each.

use std::time::Duration;

use bytes::{Buf, BufMut};
use muster_proto::TENANT_METADATA;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a stream may be silent before its answers are taken for all.
const SILENCE: Duration = Duration::from_millis(200);

/// A method of the operators' API.
pub(crate) struct Method {
    /// As in a path: `/muster.v1.NodeService/GetNode`.
    pub(crate) path: String,
    input: String,
}

/// All that the server's descriptors tell.
pub(crate) struct Api {
    messages: Vec<(String, DescriptorProto)>,
    pub(crate) methods: Vec<Method>,
}

impl Api {
    pub(crate) fn read() -> Self {
        let set = FileDescriptorSet::decode(muster_proto::FILE_DESCRIPTOR_SET).unwrap();
        let (mut messages, mut methods) = (Vec::new(), Vec::new());
        for file in set.file {
            let package = format!(".{}", file.package());
            for message in &file.message_type {
                collect(&package, message, &mut messages);
            }
            for service in file.service.iter().filter(|_| package == ".muster.v1") {
                methods.extend(service.method.iter().map(|method| Method {
                    path: format!("/muster.v1.{}/{}", service.name(), method.name()),
                    input: method.input_type().to_owned(),
                }));
            }
        }
        Api { messages, methods }
    }

    /// The request of a method, with a value for each field that `value` knows by the message and the name of the field.
    pub(crate) fn request(&self, method: &Method, value: &dyn Fn(&str, &str) -> Option<String>) -> Vec<u8> {
        self.fill(&method.input, value)
    }

    fn fill(&self, message: &str, value: &dyn Fn(&str, &str) -> Option<String>) -> Vec<u8> {
        let Some((_, descriptor)) = self.messages.iter().find(|(name, _)| name == message) else { return Vec::new() };
        let mut bytes = Vec::new();
        let mut oneofs = Vec::new();
        for field in &descriptor.field {
            if field.oneof_index.is_some_and(|oneof| oneofs.contains(&oneof)) {
                continue;
            }
            let written = self.field(message, field, value);
            if !written.is_empty() {
                oneofs.extend(field.oneof_index);
                bytes.extend(written);
            }
        }
        bytes
    }

    fn field(
        &self,
        message: &str,
        field: &FieldDescriptorProto,
        value: &dyn Fn(&str, &str) -> Option<String>,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let number = field.number().unsigned_abs();
        let short = message.rsplit('.').next().unwrap();
        match field.r#type() {
            Type::String | Type::Bytes => {
                if let Some(text) = value(short, field.name()) {
                    prost::encoding::bytes::encode(number, &text.into_bytes(), &mut bytes);
                }
            }
            Type::Message => {
                let inner = self.fill(field.type_name(), value);
                // A message without anything in it would only say that it is there.
                if !inner.is_empty() {
                    prost::encoding::bytes::encode(number, &inner, &mut bytes);
                }
            }
            // The first value that is not UNSPECIFIED; lists of them are filters.
            Type::Enum if field.label() != Label::Repeated => prost::encoding::int32::encode(number, &1, &mut bytes),
            _ => {}
        }
        bytes
    }
}

/// A message and those that are declared within it, by full name.
fn collect(parent: &str, message: &DescriptorProto, found: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{parent}.{}", message.name());
    message.nested_type.iter().for_each(|nested| collect(&name, nested, found));
    found.push((name, message.clone()));
}

/// Calls a method for a tenant, and returns all bytes of its answers.
pub(crate) async fn call(channel: &Channel, tenant: &str, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::iter([body]));
    request.metadata_mut().insert(TENANT_METADATA, tenant.parse().unwrap());
    let mut answers = client.streaming(request, path.parse().unwrap(), Bytes).await?.into_inner();
    let mut all = Vec::new();
    // A watch goes on for ever.
    while let Ok(answer) = tokio::time::timeout(SILENCE, answers.message()).await {
        match answer? {
            Some(answer) => all.extend(answer),
            None => break,
        }
    }
    Ok(all)
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
