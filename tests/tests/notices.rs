//! People are told of what goes wrong by mail and by webhook, once, and once that it is over: a mail server that nobody
//! here wrote takes the mails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::planted::{EVERYTHING, Planted};
use forestsync_tests::scenario::Change;
use forestsync_tests::world::World;
use forestsync_tests::{peers, suite, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

const PEER: &str = "aiosmtpd, a mail server";

const PASSWORD: &str = "planted-mail-password";
const SECRET: &str = "planted-signing-key";

/// The Python of `tests/sdk/install`.
fn python() -> PathBuf {
    let target = peers::binary("forestsync").parent().and_then(Path::parent).unwrap().to_owned();
    target.join("sdk/bin/python")
}

struct Receiver {
    _child: Child,
    _input: ChildStdin,
    out: PathBuf,
    mail: u64,
    webhook: u64,
}

impl Receiver {
    async fn start(folder: &Path, ca: &PrivateCa) -> Self {
        let (certificate, key) = ca.certificate(&["localhost"]).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let out = write("notices.jsonl", "");
        let facts = json!({
            "certificate": write("mail.pem", &certificate), "key": write("mail.key", &key), "out": out,
            "user": "forestsync", "password": PASSWORD, "secret": SECRET,
        });
        let facts = write("receiver.json", &facts.to_string());
        let script = peers::workspace().join("tests/notify/receiver.py");
        let mut command = Command::new(python());
        command.arg("-B").arg(script).arg(facts).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let ports = BufReader::new(output).lines().next_line().await.unwrap().expect("the receiver starts");
        let ports: Value = serde_json::from_str(&ports).unwrap();
        let port = |name: &str| ports[name].as_u64().unwrap();
        Self { mail: port("mail"), webhook: port("webhook"), _child: child, _input: input, out }
    }

    fn notices(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for notices of which these many are of each channel.
    async fn has(&self, each: usize) -> Vec<Value> {
        wait::until(&format!("{each} notices by each channel"), Duration::from_mins(2), || {
            let all = self.notices();
            let of = |channel: &str| all.iter().filter(|n| n["channel"] == channel).count();
            let (mails, hooks) = (of("mail"), of("webhook"));
            async move { if (mails, hooks) == (each, each) { Ok(()) } else { Err(format!("{mails} and {hooks}")) } }
        })
        .await;
        self.notices()
    }
}

fn keys(receiver: &Receiver, folder: &Path, ca: &PrivateCa) -> String {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("hook-url.secret", &format!("http://127.0.0.1:{}/hook/planted-path\n", receiver.webhook));
    write("hook-key.secret", SECRET);
    write("mail.secret", PASSWORD);
    write("mail-ca.pem", ca.pem());
    format!(
        "[notify]\ngather = \"200ms\"\n[notify.webhook]\nurl_file = \"hook-url.secret\"\nkey_file = \"hook-key.secret\"\n\
         [notify.mail]\nserver = \"localhost\"\nport = {}\nfrom = \"forestsync <sync@contoso.example>\"\n\
         to = [\"anna@contoso.example\"]\nuser = \"forestsync\"\npassword_file = \"mail.secret\"\nca_file = \"mail-ca.pem\"\n",
        receiver.mail
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_is_told_once_and_once_that_it_is_over() {
    let knows = |module: &str| {
        std::process::Command::new(python())
            .args(["-c", &format!("import {module}")])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !python().exists() || !knows("aiosmtpd") {
        return peers::skipped(PEER, "tests/sdk/install was not run, or could not install it");
    }
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    let mut world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let receiver = Receiver::start(folder.path(), &ca).await;
    let mut pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, "");
    let keys = keys(&receiver, pipeline.folder(), &ca);
    pipeline.configure(&world.sources(), &world.access, suite::NO_QUOTA, &keys);
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    assert!(receiver.notices().is_empty(), "nothing was wrong");

    // far more than the guard lets pass
    for dn in ["OU=Sales,OU=Staff", "OU=R&D\\; Dept,OU=Staff", "OU=Partners", "OU=Service,OU=Staff"] {
        world.apply(&Change::DeleteTree(1, dn.into())).await;
    }
    pipeline.start_with(&[("FORESTSYNC_LOG", EVERYTHING)]);
    let told = receiver.has(1).await;
    let hook = told.iter().find(|n| n["channel"] == "webhook").unwrap();
    assert_eq!((&hook["signed"], &hook["path"]), (&json!(true), &json!("/hook/planted-path")));
    let notice = &hook["notice"];
    assert_eq!((&notice["cause"], &notice["over"]), (&json!("held.delete.user"), &json!(false)), "{notice}");
    let held = pipeline.json(&["held", "--class", "user"])["held"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(notice["count"].as_u64(), Some(held), "{notice}");
    assert!(notice["text"].as_str().unwrap().contains("forestsync approve"), "{notice}");
    let mail = told.iter().find(|n| n["channel"] == "mail").unwrap();
    assert_eq!(
        (&mail["login"], &mail["tls"], &mail["to"]),
        (&json!("forestsync"), &json!(true), &json!(["anna@contoso.example"]))
    );
    // all but the last line, which says when it was written
    let said =
        |text: &Value| text.as_str().unwrap().replace("\r\n", "\n").trim().rsplit_once('\n').unwrap().0.to_owned();
    assert_eq!(said(&mail["text"]), said(&notice["text"]));

    // another process tells nothing anew: the next thing told is that it is over
    pipeline.stop().await;
    pipeline.start_with(&[("FORESTSYNC_LOG", EVERYTHING)]);
    let approved = pipeline.output(&["approve", "--reason", "they left", "--all"]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    let told = receiver.has(2).await;
    let over: Vec<&Value> = told.iter().filter(|n| n["channel"] == "webhook").map(|n| &n["notice"]).collect();
    assert_eq!((&over[1]["cause"], &over[1]["over"]), (&json!("held.delete.user"), &json!(true)));
    pipeline.stop().await;

    let log = pipeline.output(&["log", "tail", "outcomes.e2e", "--from", "0", "--values", "--json"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(events.filter(|e| e["event"]["type"] == "NotificationSent").count(), 4, "four deliveries");
    // also where what is said on the wire is logged, the login at the mail server among it
    let planted = Planted::new([PASSWORD, SECRET, "planted-path"]);
    assert_eq!(planted.find(log.as_bytes()), None, "something secret in the log");
    assert!(planted.assert_unseen_below(pipeline.folder()) > 10, "databases and logs of the runs are among them");
    peers::ran(PEER);
}
