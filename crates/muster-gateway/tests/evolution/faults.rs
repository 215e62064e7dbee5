//! What happens on the wire below HTTP: which faults prove that nothing was sent, and which leave the outcome open.

use std::net::SocketAddr;
use std::time::Duration;

use muster_domain::content::{Content, Courtesy};
use muster_domain::failure::FailureReason;
use muster_domain::{BotId, MessageId};
use muster_gateway::evolution::{EvolutionConfig, EvolutionGateway};
use muster_gateway::{Gateway, Secret, SendError, SendRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::replay::address;

/// Sends a text to what listens at `url`.
async fn send(url: &str) -> Result<(), SendError> {
    let config = EvolutionConfig {
        base_url: url.parse().unwrap(),
        api_key: Secret::new("k"),
        call_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_millis(500),
    };
    let gateway = EvolutionGateway::new(config).unwrap();
    let recipient = address("+5511900000001");
    let content = Content::Text { body: "hello".into() };
    let request = SendRequest {
        message_id: MessageId::from_raw(1).unwrap(),
        recipient: &recipient,
        content: &content,
        media: None,
        reply_to: None,
        courtesy: Courtesy::default(),
        timeout: Duration::from_millis(700),
    };
    gateway.send(&BotId::new("bot-01").unwrap(), request).await.map(drop)
}

#[track_caller]
fn assert_not_sent(result: Result<(), SendError>) {
    match result {
        Err(SendError::NotSent(failure)) => assert_eq!(failure.reason, FailureReason::GatewayUnavailable),
        other => panic!("must be provably not sent, is {other:?}"),
    }
}

#[track_caller]
fn assert_unknown(result: Result<(), SendError>) {
    match result {
        Err(SendError::Unknown(failure)) => assert_eq!(failure.reason, FailureReason::OutcomeUnknown),
        other => panic!("must be unknown, is {other:?}"),
    }
}

/// A server that does the same with every connection.
async fn serve<F: Future<Output = ()> + Send + 'static>(behave: fn(TcpStream) -> F) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(behave(stream));
        }
    });
    address
}

/// Reads a whole request; its body ends the JSON object.
async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"}") {
        if stream.read_buf(&mut seen).await.unwrap() == 0 {
            break;
        }
    }
}

#[tokio::test]
async fn refused_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_not_sent(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn a_name_that_nobody_has_is_not_sent() {
    assert_not_sent(send("http://gateway.invalid").await);
}

#[tokio::test]
async fn a_connection_that_does_not_come_up_in_time_is_not_sent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: once the queue is full, a further connection gets no answer.
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    assert_not_sent(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn tls_that_is_not_agreed_is_not_sent() {
    let address = serve(|mut stream| async move {
        let mut seen = [0; 64];
        let _ = stream.read(&mut seen).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    assert_not_sent(send(&format!("https://{address}")).await);
}

#[tokio::test]
async fn a_close_before_the_request_was_read_is_unknown() {
    let address = serve(|stream| async move { drop(stream) }).await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn a_close_after_the_request_is_unknown() {
    let address = serve(|mut stream| async move { read_request(&mut stream).await }).await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn a_reset_after_the_request_is_unknown() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn silence_is_unknown() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unknown() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ =
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n{\"key\":{\"id\":\"3EB0\"}}").await;
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_unknown() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 500\r\n\r\n").await;
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn an_endless_answer_is_unknown_and_ends() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 99999999999\r\n\r\n").await;
        while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn no_http_is_unknown() {
    let address = serve(|mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
    })
    .await;
    assert_unknown(send(&format!("http://{address}")).await);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{address}/again\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut more = Vec::new();
        let again = stream.read_buf(&mut more);
        // The client goes away with its gateway; whatever it had sent on this or another connection would come first.
        tokio::select! { biased; _ = listener.accept() => panic!("another connection"), read = again => read.unwrap() }
    });
    assert_unknown(send(&format!("http://{address}")).await);
    assert_eq!(server.await.unwrap(), 0, "the request came again");
}
