//! Files on the web, from a server that misbehaves as told. Plain http on loopback, which
//! the config must allow; TLS is tested against a real server in the integration tests.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::{Case, gzip};

/// One answer: what comes before the body, and the body.
type Answer = Box<dyn Fn(&str, &mut TcpStream) + Send>;

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Gives each connection the next answer; the last one serves all that follow.
fn serve(answers: Vec<Answer>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (n, connection) in listener.incoming().enumerate() {
            let Ok(mut stream) = connection else { return };
            let mut head = String::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                head += &line.to_ascii_lowercase();
                head.push('\n');
            }
            theirs.lock().unwrap().push(head.clone());
            answers[n.min(answers.len() - 1)](&head, &mut stream);
        }
    });
    Server { port, asked }
}

fn say(head: impl Into<String>, body: impl Into<Vec<u8>>) -> Answer {
    let (head, body) = (head.into(), body.into());
    Box::new(move |_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(&body);
    })
}

fn whole(body: &[u8]) -> Answer {
    say(format!("200 OK\r\nETag: \"v1\"\r\nContent-Length: {}", body.len()), body)
}

/// Sends the first part only.
fn cut(body: &[u8], after: usize, tag: &str) -> Answer {
    say(format!("200 OK\r\n{tag}Content-Length: {}", body.len()), &body[..after])
}

/// Honours the range asked for.
fn rest(body: &[u8], tag: &str) -> Answer {
    let (body, tag) = (body.to_vec(), tag.to_owned());
    Box::new(move |head, stream| {
        let from = head
            .lines()
            .find_map(|l| l.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let text = match from {
            Some(from) => format!(
                "HTTP/1.1 206 Partial Content\r\nETag: {tag}\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}",
                body.len() - 1,
                body.len(),
                body.len() - from
            ),
            None => format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {}", body.len()),
        };
        let _ = stream.write_all(format!("{text}\r\nConnection: close\r\n\r\n").as_bytes());
        let _ = stream.write_all(&body[from.unwrap_or(0)..]);
    })
}

fn case(server: &Server) -> Case {
    web(&format!("http://127.0.0.1:{}/f.csv", server.port), true)
}

fn web(url: &str, private: bool) -> Case {
    Case::csv("")
        .set("url", url.into())
        .set("provider", json!({"storage": "HTTPS", "user_agent": true, "allow_private_addresses": private}))
}

fn text() -> Vec<u8> {
    (0..40_000).fold("n\n".to_owned(), |t, i| t + &format!("{i}\n")).into_bytes()
}

#[test]
fn a_file_on_the_web_is_read_plain_and_compressed() {
    let server = serve(vec![whole(b"a,b\n1,x\n")]);
    let case = case(&server);
    assert!(case.check().passed());
    assert_eq!(case.read().rows(), [r#"{"a":1,"b":"x"}"#]);
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|head| head.contains("user-agent: ferrybyte/") && head.contains("accept-encoding: identity")));
    drop(asked);
    let server = serve(vec![whole(&gzip(&text()))]);
    assert_eq!(self::case(&server).read().count(), 40_000);
}

#[test]
fn a_lost_connection_is_resumed_where_it_broke_off() {
    let text = text();
    let server = serve(vec![whole(&text), cut(&text, 100_000, "ETag: \"v1\"\r\n"), rest(&text, "\"v1\"")]);
    let case = case(&server);
    let run = case.read_stream(case.stream());
    // The first answer went to discover, the second to the discovery inside read.
    assert_eq!(run.rows().len(), 40_000);
    let run = serve(vec![cut(&text, 100_000, "ETag: \"v1\"\r\n"), rest(&text, "\"v1\"")]);
    let case = self::case(&run);
    let stream = case.stream();
    let server = serve(vec![whole(&text), cut(&text, 150_000, "ETag: \"v1\"\r\n"), rest(&text, "\"v1\"")]);
    let case = self::case(&server);
    let run = case.read_stream(stream);
    let rows = run.rows();
    assert_eq!((rows.len(), rows[39_999].as_str()), (40_000, r#"{"n":39999}"#));
    let asked = server.asked.lock().unwrap();
    assert!(
        asked.iter().any(|h| h.contains("range: bytes=150000-") && h.contains("if-range: \"v1\"")),
        "{asked:?}"
    );
}

#[test]
fn a_server_without_ranges_is_read_again_and_the_known_part_skipped() {
    let text = text();
    let server =
        serve(vec![whole(&text), whole(&text), cut(&text, 150_000, "ETag: \"v1\"\r\n"), whole(&text)]);
    let case = case(&server);
    let stream = case.stream();
    assert_eq!(case.read_stream(stream).rows().len(), 40_000);
}

#[test]
fn a_file_that_changed_or_cannot_be_resumed_is_not_patched_together() {
    let text = text();
    for (tag, then, expected) in [
        (
            "ETag: \"v1\"\r\n",
            say(format!("200 OK\r\nETag: \"v2\"\r\nContent-Length: {}", text.len()), text.clone()),
            "changed",
        ),
        ("", whole(&text), "no ETag"),
        ("ETag: W/\"v1\"\r\n", whole(&text), "no ETag"),
    ] {
        let server = serve(vec![whole(&text), whole(&text), cut(&text, 150_000, tag), then]);
        let case = case(&server);
        let stream = case.stream();
        let run = case.read_stream(stream);
        assert!(run.error().contains(expected), "{}", run.error());
        assert_eq!(run.failure_type(), "transient_error");
    }
}

#[test]
fn a_busy_server_is_asked_again_and_a_refusing_one_is_not() {
    let server = serve(vec![
        say("503 Service Unavailable\r\nContent-Length: 0", ""),
        say("429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0", ""),
        whole(b"a\n1\n"),
    ]);
    assert!(case(&server).check().passed());
    for (status, expected) in
        [("404 Not Found", "404"), ("403 Forbidden", "not public"), ("204 No Content", "204")]
    {
        let server = serve(vec![say(format!("{status}\r\nContent-Length: 0"), "")]);
        let run = case(&server).check();
        assert!(run.error().contains(expected), "{}", run.error());
        assert_eq!(server.asked.lock().unwrap().len(), 1);
    }
}

#[test]
fn s3_16_addresses_that_are_not_allowed_get_no_request() {
    let server = serve(vec![whole(b"a\n1\n")]);
    let port = server.port;
    for (url, private, expected) in [
        (format!("https://127.0.0.1:{port}/f"), false, "allow_private_addresses"),
        (format!("https://localhost:{port}/f"), false, "allow_private_addresses"),
        (format!("https://[::ffff:127.0.0.1]:{port}/f"), false, "allow_private_addresses"),
        (format!("https://2130706433:{port}/f"), false, "allow_private_addresses"),
        ("https://169.254.169.254/latest/meta-data".to_owned(), false, "allow_private_addresses"),
        (format!("http://127.0.0.1:{port}/f"), false, "use https"),
        ("http://1.1.1.1/f".to_owned(), true, "only for loopback"),
        ("ftp://example.com/f".to_owned(), true, "scheme ftp"),
        ("file:///etc/passwd".to_owned(), true, "scheme file"),
        ("https://".to_owned(), true, "not a URL"),
    ] {
        let error = web(&url, private).check().error();
        assert!(error.contains(expected), "{url}: {error}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[test]
fn s3_16_redirects_are_followed_within_bounds() {
    let target = serve(vec![whole(b"a\n1\n")]);
    let to = |url: String| serve(vec![say(format!("302 Found\r\nLocation: {url}\r\nContent-Length: 0"), "")]);
    let server = to(format!("http://127.0.0.1:{}/real", target.port));
    assert_eq!(case(&server).read().count(), 1);
    for (url, expected) in [
        ("http://8.8.8.8/f", "only for loopback"),
        ("gopher://127.0.0.1/f", "scheme gopher"),
        ("/round", "more than 10 times"),
    ] {
        let error = case(&to(url.to_owned())).check().error();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[test]
fn secrets_in_an_address_are_not_repeated() {
    let server = serve(vec![say("404 Not Found\r\nContent-Length: 0", "")]);
    let run =
        web(&format!("http://user:hunter2@127.0.0.1:{}/f.csv?sig=t0ps3cret", server.port), true).check();
    let error = run.error();
    assert!(error.contains("404") && !error.contains("hunter2") && !error.contains("t0ps3cret"), "{error}");
    assert!(server.asked.lock().unwrap()[0].contains("authorization: basic"));
}
