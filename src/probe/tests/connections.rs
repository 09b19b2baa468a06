//! Opening connections: what TCP attempts check, and what keeps any attempt from starting.

use tokio::net::TcpSocket;

use super::*;
use crate::probe::post;

fn all_kinds() -> [Check; 5] {
    let grpc = |tls| Check::Grpc { service: None, tls };
    [get("/"), over_tls(get("/")), Check::Tcp, grpc(false), grpc(true)]
}

#[tokio::test]
async fn an_accepted_connection_passes_tcp() {
    let address = listen(|stream| async move { drop(stream) }).await;
    attempt(&Check::Tcp, address, LONG).await.unwrap();
}

#[tokio::test]
async fn a_port_without_a_listener_refuses() {
    // Bound, so that nothing else can take the port meanwhile, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    for check in all_kinds() {
        assert_eq!(fails(&check, address, LONG).await.reason(), "ConnectionRefused", "{check:?}");
    }
    assert_eq!(
        sentence(&Check::Tcp, address).await,
        "TCP connection to port P: connection refused; nothing listens on that port of the pod's address"
    );
    assert_eq!(post("/drain", address, LONG).await.unwrap_err().reason(), "ConnectionRefused");
}

#[tokio::test]
async fn connections_that_are_not_answered_end_in_time() {
    // A listener that accepts nothing and whose queue is full drops what asks for a connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 100, "the queue never fills");
    }
    for check in all_kinds() {
        let failure = fails(&check, address, SHORT).await;
        assert_eq!(failure.reason(), "ConnectTimeout", "{check:?}");
        assert!(failure.to_string().contains("no connection within 300ms"), "{failure}");
    }
}

#[tokio::test]
async fn addresses_without_a_route_are_told() {
    // No packet leaves the machine: TCP has no route to a broadcast address.
    let nowhere = "255.255.255.255:9".parse().unwrap();
    let failure = fails(&Check::Tcp, nowhere, LONG).await;
    assert_eq!(failure.reason(), "Unreachable");
    assert_eq!(failure.to_string(), "TCP connection to port 9: could not connect: no route to the pod's network");
}

#[tokio::test]
async fn addresses_of_version_six_work() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = sent.send(request(&mut stream).await);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    attempt(&get("/"), address, LONG).await.unwrap();
    let head = requests.recv().await.unwrap();
    assert!(head.contains(&format!("\r\nhost: [::1]:{}\r\n", address.port())), "{head}");
    attempt(&Check::Tcp, address, LONG).await.unwrap();
}

#[tokio::test]
async fn connections_are_closed_when_an_attempt_ends() {
    // One server that never answers; it reports when a connection has been closed from the other side.
    let (closed, mut ends) = mpsc::unbounded_channel();
    let address = listen(move |mut stream| {
        let closed = closed.clone();
        async move {
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
            let _ = closed.send(());
        }
    })
    .await;
    for check in all_kinds() {
        let _ = attempt(&check, address, SHORT).await;
        tokio::time::timeout(LONG, ends.recv()).await.unwrap_or_else(|_| panic!("{check:?} left its connection open")).unwrap();
    }
    // Dropped half-way, as when a release is aborted.
    for check in all_kinds() {
        let _ = tokio::time::timeout(SHORT, attempt(&check, address, LONG + LONG)).await;
        tokio::time::timeout(LONG, ends.recv()).await.unwrap_or_else(|_| panic!("{check:?} left its connection open")).unwrap();
    }
}

#[tokio::test]
async fn timeouts_beyond_the_clock_do_no_harm() {
    let address = listen(|stream| async move { drop(stream) }).await;
    attempt(&Check::Tcp, address, Duration::MAX).await.unwrap();
    let _ = attempt(&Check::Tcp, address, Duration::ZERO).await;
}
