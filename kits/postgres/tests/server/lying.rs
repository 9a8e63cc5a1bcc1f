//! Servers that lie: whatever they say, the answer is an error that has a name.

use std::time::Duration;

use connector_kit::{ErrorKind, Result};
use postgres_kit::{Connection, Endpoint, Purpose, Row, SslMode};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{at, run, shown};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

/// What an honest server says until it is ready.
fn greeting() -> Vec<u8> {
    [
        message(b'R', &[0, 0, 0, 0]),
        message(b'S', b"server_version\x0015.18\0"),
        message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn done() -> Vec<u8> {
    [message(b'C', b"SET\0"), message(b'Z', b"I")].concat()
}

fn row() -> Vec<u8> {
    [message(b'T', b"\0\0"), message(b'D', b"\0\x01\0\0\0\x01x"), done()].concat()
}

/// Answers the start-up packet and then each command with what it is given; then hangs up.
async fn lie(listener: &TcpListener, says: &[Vec<u8>], patience: Duration) {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut says = says.iter();
    let length = client.read_u32().await.unwrap();
    let _ = client.read_exact(&mut vec![0; length as usize - 4]).await;
    let _ = client.write_all(says.next().unwrap()).await;
    for answer in says {
        // A client that waits for more of the last answer gets the end instead.
        match tokio::time::timeout(patience, client.read_u8()).await {
            Ok(Ok(_)) => {}
            _ => return,
        }
        let length = client.read_u32().await.unwrap();
        let _ = client.read_exact(&mut vec![0; length as usize - 4]).await;
        let _ = client.write_all(answer).await;
    }
    let _ = client.shutdown().await;
}

/// Talks to such a server: logs in, asks `task` of the connection.
async fn believe<T>(
    listener: &TcpListener,
    says: &[Vec<u8>],
    task: impl AsyncFnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    believe_for(Duration::from_secs(20), listener, says, task).await
}

async fn believe_for<T>(
    patience: Duration,
    listener: &TcpListener,
    says: &[Vec<u8>],
    task: impl AsyncFnOnce(&mut Connection) -> Result<T>,
) -> Result<T> {
    let endpoint = at(listener.local_addr().unwrap().port());
    let believing = async {
        let mut connection = endpoint.connect(Purpose::Ordinary).await?;
        task(&mut connection).await
    };
    tokio::join!(believing, lie(listener, says, patience)).0
}

async fn query(connection: &mut Connection) -> Result<Vec<Row>> {
    connection.query("SELECT 1").await
}

async fn copy(connection: &mut Connection) -> Result<usize> {
    connection.copy_out("COPY t TO STDOUT").await?;
    let mut length = 0;
    loop {
        while let Some(data) = connection.next_copy_data()? {
            length += data.len();
        }
        if connection.copy_finished() {
            return Ok(length);
        }
        connection.fill().await?;
    }
}

#[test]
fn pg_33_a_conversation_that_is_cut_anywhere_is_an_error() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let honest = [greeting(), done(), row()];
        assert_eq!(believe(&listener, &honest, query).await.unwrap()[0].get(0), Some("x"));
        for (part, words) in honest.iter().enumerate() {
            for cut in 0..words.len() {
                let mut says = honest[..part].to_vec();
                says.push(words[..cut].to_vec());
                let error = believe(&listener, &says, query).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Transient, "{part} {cut}: {}", shown(&error));
                assert!(error.message().contains("closed the connection"), "{}", shown(&error));
            }
        }
        let copied = [message(b'H', b"\0\0\0"), message(b'd', b"ab"), message(b'c', b""), done()].concat();
        let says = |cut: usize| [greeting(), done(), copied[..cut].to_vec()];
        assert_eq!(believe(&listener, &says(copied.len()), copy).await.unwrap(), 2);
        for cut in 0..copied.len() {
            let error = believe(&listener, &says(cut), copy).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{cut}: {}", shown(&error));
        }
    });
}

#[test]
fn other_programs_and_broken_servers_are_told_apart_from_postgresql() {
    let long = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes(), &[0; 64]].concat();
    let lies: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        b"\xff".to_vec(),
        long(b'R', 0),
        long(b'R', 3),
        long(b'R', u32::MAX),
        long(b'E', 0x7fff_ffff),
        long(b'S', (64 << 10) + 1),
        message(b'R', b""),
        message(b'R', &[0, 0, 0, 5, 1, 2, 3]),
        message(b'R', &[0, 0, 0, 11]),
        message(b'R', &[0, 0, 0, 12]),
        message(b'R', &[0, 0, 0, 99]),
        message(b'R', &[0xff; 4]),
        message(b'E', b"SFATAL\0C28000"),
        message(b'E', b""),
        message(b'Z', b"I"),
        message(b'K', &[0; 8]),
        message(b'D', b"\0\0"),
        message(b'd', b"x"),
        [message(b'R', &[0; 4]), message(b'R', &[0; 4])].concat(),
        [message(b'R', &[0; 4]), message(b'K', &[0; 3])].concat(),
        [message(b'R', &[0; 4]), message(b'S', b"no value\0")].concat(),
        [message(b'R', &[0; 4]), message(b'S', b"\xff\0\xff\0")].concat(),
    ];
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for lie in &lies {
            let error = believe(&listener, std::slice::from_ref(lie), query).await.unwrap_err();
            let shown = shown(&error);
            assert!(
                shown.contains("`host` and `port`") && shown.contains("protocol violation"),
                "{lie:?}: {shown}"
            );
        }
        for kind in [2, 7, 8, 9] {
            let lie = [message(b'R', &[0, 0, 0, kind])];
            assert_eq!(believe(&listener, &lie, query).await.unwrap_err().kind(), ErrorKind::Config);
        }
        let other = [message(b'R', b"\0\0\0\x0aSCRAM-SHA-512\0\0")];
        assert!(believe(&listener, &other, query).await.unwrap_err().message().contains("scram-sha-256"));
    });
}

#[test]
fn pg_33_a_lie_in_an_answer_ends_the_connection() {
    let row_cap = ((1_u32 << 30) + 65).to_be_bytes();
    let cap = ((16_u32 << 20) + 1).to_be_bytes();
    let lies: Vec<Vec<u8>> = vec![
        [b"D", &row_cap[..]].concat(),
        [b"T", &cap[..]].concat(),
        [b"D", &[0xff; 4][..]].concat(),
        message(b'D', b""),
        message(b'D', b"\xff\xff"),
        message(b'D', b"\0\x01\x80\0\0\0"),
        message(b'D', b"\0\x01\0\0\0\x01\xff"),
        message(b'D', b"\0\x01\0\0\0\x09x"),
        message(b'E', b"SERROR"),
        message(b'S', b"x"),
        message(b'R', &[0; 4]),
        message(b'K', &[0; 8]),
        message(b'H', b"\0\0\0"),
        message(b'G', b"\0\0\0"),
        message(b'd', b"x"),
        message(b'c', b""),
        message(b'1', b""),
        b"X\0\0\0\x04".to_vec(),
    ];
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for lie in &lies {
            let says = [greeting(), done(), [lie.clone(), done()].concat()];
            let twice = async |connection: &mut Connection| {
                let first = connection.query("SELECT 1").await.unwrap_err();
                assert_eq!(connection.query("SELECT 1").await.unwrap_err().kind(), ErrorKind::Transient);
                Err::<(), _>(first)
            };
            let shown = shown(&believe(&listener, &says, twice).await.unwrap_err());
            assert!(shown.contains("protocol violation"), "{lie:?}: {shown}");

            let copying = [message(b'H', b"\0\0\0"), message(b'd', b"ab"), lie.clone(), done()].concat();
            let copied = believe(&listener, &[greeting(), done(), copying], copy).await;
            match lie[0] {
                // These belong into a copy, and the rest of the words then does not.
                b'd' | b'c' if lie.len() < 9 => {}
                _ => assert!(crate::shown(&copied.unwrap_err()).contains("protocol violation"), "{lie:?}"),
            }
        }
    });
}

#[test]
fn words_without_end_come_to_an_end() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let notices = message(b'N', b"SNOTICE\0C00000\0Mhm\0\0").repeat(110_000);
        for says in [vec![greeting(), done(), notices.clone()], vec![notices.clone()]] {
            let shown = shown(&believe(&listener, &says, query).await.unwrap_err());
            assert!(shown.contains("without end"), "{shown}");
        }
        let copying = [message(b'H', b"\0\0\0"), notices].concat();
        let error = believe(&listener, &[greeting(), done(), copying], copy).await.unwrap_err();
        assert!(shown(&error).contains("without end"));
        let parameters: Vec<u8> =
            (0..11_000).flat_map(|n| message(b'S', format!("p{n}\0v\0").as_bytes())).collect();
        let says = [[message(b'R', &[0; 4]), parameters].concat()];
        assert!(shown(&believe(&listener, &says, query).await.unwrap_err()).contains("without end"));
    });
}

#[test]
fn a_server_that_says_nothing_is_waited_for_only_as_long_as_the_params_say() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut endpoint = at(port);
        endpoint.params = postgres_kit::Params::parse("connectTimeout=1&socketTimeout=1").unwrap();
        for ssl in [SslMode::Disable, SslMode::Require] {
            endpoint.ssl = ssl;
            let (error, silent) = tokio::join!(endpoint.connect(Purpose::Ordinary), listener.accept());
            drop(silent);
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient);
            assert!(shown(&error).contains("jdbc_url_params"), "{}", shown(&error));
        }
        endpoint.ssl = SslMode::Disable;
        let quiet = async {
            let (mut client, _) = listener.accept().await.unwrap();
            client.write_all(&[greeting(), done()].concat()).await.unwrap();
            let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
        };
        let asking = async {
            let mut connection = endpoint.connect(Purpose::Ordinary).await.unwrap();
            query(&mut connection).await.unwrap_err()
        };
        let (error, ()) = tokio::join!(asking, quiet);
        assert!(shown(&error).contains("socketTimeout"), "{}", shown(&error));
    });
}

/// Answers the wish for TLS.
async fn answer_about_tls(listener: &TcpListener, answer: &[u8]) -> TcpStream {
    let (mut client, _) = listener.accept().await.unwrap();
    client.read_exact(&mut [0; 8]).await.unwrap();
    client.write_all(answer).await.unwrap();
    client
}

#[test]
fn a_lie_about_tls_is_never_followed_by_plain_text() {
    let error = message(b'E', b"SFATAL\0C53300\0Mwho knows who says so\0\0");
    let stuffed = [b"S".to_vec(), greeting()].concat();
    let lies: [(&[u8], &str); 5] = [
        (&stuffed, "unencrypted data where TLS should begin"),
        (&error, "an error instead of an answer"),
        (b"X", "no answer about TLS"),
        (b"", "closed the connection"),
        (b"N", "does not speak TLS"),
    ];
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint { ssl: SslMode::Require, ..at(listener.local_addr().unwrap().port()) };
        for (lie, names) in lies {
            let liar = async {
                let mut client = answer_about_tls(&listener, lie).await;
                let _ = client.shutdown().await;
                let mut rest = Vec::new();
                let _ = client.read_to_end(&mut rest).await;
                rest
            };
            let (result, rest) = tokio::join!(endpoint.connect(Purpose::Ordinary), liar);
            let shown = shown(&result.unwrap_err());
            assert!(shown.contains(names) && !shown.contains("who knows"), "{shown}");
            assert!(rest.is_empty(), "{names}: {rest:?}");
        }
        let liar = async {
            let mut client = answer_about_tls(&listener, b"S").await;
            // It waits for the client to begin, so that these do not come together with the S.
            let _ = client.read(&mut [0; 1024]).await;
            client.write_all(&greeting()).await.unwrap();
            client
        };
        let (result, _client) = tokio::join!(endpoint.connect(Purpose::Ordinary), liar);
        let error = result.unwrap_err();
        assert!(shown(&error).contains("TLS with 127.0.0.1"), "{}", shown(&error));
    });
}

/// Messages of every kind, well framed and not.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop::sample::select(b"RKSNAEZCDTdcHGWI123nstVv!".to_vec());
    let body =
        prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 1, 2, 4, b'S', b'C', b'I', 0xff]), 0..24);
    let framed = (tag, body).prop_map(|(tag, body)| message(tag, &body));
    let noise = prop::collection::vec(any::<u8>(), 0..12);
    prop::collection::vec(prop::strategy::Union::new([framed.boxed(), noise.boxed()]), 0..6)
        .prop_map(|parts| parts.concat())
}

/// How long a liar waits for a client that may wait for it, too.
const PATIENCE: Duration = Duration::from_millis(20);

proptest! {
    #![proptest_config(Config::with_cases(300))]
    #[test]
    fn pg_33_no_words_make_the_client_panic_or_hang(first in words(), then in words(), last in words()) {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // An honest end to all of them is possible; a rest that nobody asked for is not looked at.
            let _ = believe_for(PATIENCE, &listener, &[first], query).await;
            let _ = believe_for(PATIENCE, &listener, &[greeting(), then.clone(), last.clone()], query).await;
            let _ = believe_for(PATIENCE, &listener, &[greeting(), done(), then.clone()], query).await;
            let copying = [message(b'H', b"\0\0\0"), then, last].concat();
            let _ = believe_for(PATIENCE, &listener, &[greeting(), done(), copying], copy).await;
        });
    }
}
