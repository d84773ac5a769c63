//! Questions to a running process: one line is asked, one is answered, on a Unix socket beside its data that only the
//! account it runs as may open.

use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The longest question, in bytes.
const MAX_QUESTION: u64 = 4 * 1024 * 1024;

/// The folder of the socket. Its path may be longer than a socket's address can be, so it is gone to by an open handle.
fn folder(beside: &Path) -> PathBuf {
    let name = beside.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    beside.with_file_name(format!("{name}.query"))
}

/// A path to the socket that is short enough, for as long as the handle lives.
fn address(beside: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let folder = std::fs::File::open(folder(beside))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Listens for questions, in a folder beside this one that nobody else may enter. The caller holds the lock of what it
/// answers for: a socket that is there is a dead one.
pub fn listen(beside: &Path) -> io::Result<UnixListener> {
    let folder = folder(beside);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match std::fs::remove_file(folder.join("socket")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_handle, path) = address(beside)?;
    UnixListener::bind(path)
}

/// Takes questions until it is dropped; `answer` is asked for a line to each.
pub async fn serve<A, F>(listener: UnixListener, answer: A)
where
    A: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Vec<u8>> + Send,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, answer).await {
                        tracing::debug!(error = %error, "a question was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "questions cannot be taken");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn converse<A, F>(stream: UnixStream, answer: A) -> io::Result<()>
where
    A: Fn(String) -> F,
    F: Future<Output = Vec<u8>>,
{
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reading.take(MAX_QUESTION)).read_line(&mut line).await?;
    let mut text = answer(line).await;
    text.push(b'\n');
    writing.write_all(&text).await?;
    writing.shutdown().await
}

/// Asks the process that listens beside this folder, and waits so long for its answer. Neither question nor answer has a
/// line break in it.
///
/// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] mean that none listens,
/// [`io::ErrorKind::TimedOut`] that it did not answer in time.
pub async fn ask(beside: &Path, mut question: Vec<u8>, patience: Duration) -> io::Result<Vec<u8>> {
    if question.len() as u64 >= MAX_QUESTION {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the question is too long"));
    }
    let talk = async {
        let (_handle, path) = address(beside)?;
        let (reading, mut writing) = UnixStream::connect(path).await?.into_split();
        question.push(b'\n');
        writing.write_all(&question).await?;
        let mut line = Vec::new();
        BufReader::new(reading).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    };
    tokio::time::timeout(patience, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_is_answered_and_a_dead_socket_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let ask = |text: &str| ask(&data, text.as_bytes().to_vec(), Duration::from_secs(5));
        assert_eq!(ask("a").await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let echo = |line: String| async move { line.trim_end().to_uppercase().into_bytes() };
        let served = tokio::spawn(serve(listen(&data).unwrap(), echo));
        assert_eq!(ask("who is there").await.unwrap(), b"WHO IS THERE\n");
        served.abort();
        let _aborted = served.await;
        assert_eq!(ask("a").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // the next one takes its place
        tokio::spawn(serve(listen(&data).unwrap(), echo));
        assert_eq!(ask("b").await.unwrap(), b"B\n");
    }
}
