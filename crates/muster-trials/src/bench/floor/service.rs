//! The bare server.

use std::pin::Pin;
use std::sync::Mutex;

use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::commit::Write;
use crate::floor_v1::floor_service_server::{FloorService, FloorServiceServer};
use crate::floor_v1::{
    AcceptManyRequest, AcceptManyResponse, AcceptRequest, AcceptResponse, Item, WorkRequest, WorkResponse,
};
use crate::load::FRAME_MESSAGES;

/// Frames of one stream whose commits may be awaited at a time.
const FRAMES_AWAITED: usize = 64;

/// Serves until the process ends.
pub(super) fn spawn(listener: TcpListener, writer: mpsc::Sender<Write>, committed: mpsc::Receiver<Vec<Item>>) {
    let service = FloorServiceServer::new(Floor { writer, committed: Mutex::new(Some(committed)) });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
}

struct Floor {
    writer: mpsc::Sender<Write>,
    /// For the one worker.
    committed: Mutex<Option<mpsc::Receiver<Vec<Item>>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FloorService for Floor {
    async fn accept(&self, request: Request<AcceptRequest>) -> Result<Response<AcceptResponse>, Status> {
        accept(&self.writer, request.into_inner().item.into_iter().collect()).await?;
        Ok(Response::new(AcceptResponse {}))
    }

    type AcceptManyStream = Answers<AcceptManyResponse>;

    async fn accept_many(
        &self,
        request: Request<Streaming<AcceptManyRequest>>,
    ) -> Result<Response<Self::AcceptManyStream>, Status> {
        let writer = self.writer.clone();
        let answers = request.into_inner().map(move |frame| {
            let writer = writer.clone();
            async move {
                let items = frame?.items;
                let accepted = u32::try_from(items.len()).unwrap_or(u32::MAX);
                accept(&writer, items).await?;
                Ok(AcceptManyResponse { accepted })
            }
        });
        Ok(Response::new(answers.buffered(FRAMES_AWAITED).boxed()))
    }

    type WorkStream = Answers<WorkResponse>;

    async fn work(&self, request: Request<Streaming<WorkRequest>>) -> Result<Response<Self::WorkStream>, Status> {
        let committed = self.committed.lock().ok().and_then(|mut committed| committed.take());
        let committed = committed.ok_or_else(|| Status::already_exists("the floor has one worker"))?;
        let (mut handled, writer) = (request.into_inner(), self.writer.clone());
        tokio::spawn(async move {
            while let Ok(Some(frame)) = handled.message().await {
                if writer.send(Write::Settle { ids: frame.handled }).await.is_err() {
                    break;
                }
            }
        });
        let work = ReceiverStream::new(committed).flat_map(|items| futures::stream::iter(frames(items)));
        Ok(Response::new(work.map(Ok).boxed()))
    }
}

async fn accept(writer: &mpsc::Sender<Write>, items: Vec<Item>) -> Result<(), Status> {
    let (done, committed) = oneshot::channel();
    let ended = || Status::unavailable("the floor's writer has ended");
    writer.send(Write::Accept { items, done }).await.map_err(|_| ended())?;
    committed.await.map_err(|_| ended())
}

fn frames(items: Vec<Item>) -> impl Iterator<Item = WorkResponse> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        items.peek()?;
        Some(WorkResponse { items: items.by_ref().take(FRAME_MESSAGES as usize).collect() })
    })
}
