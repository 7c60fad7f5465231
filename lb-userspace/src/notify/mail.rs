//! Mail, as keepalived sends it (`notification_email` and its companions in `global_defs`).

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::sync::mpsc;

use crate::config::Mail;

/// How many notifications wait, and go into one mail at most.
const QUEUE: usize = 256;
/// How long is waited before each attempt to send a mail.
const ATTEMPTS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(10), Duration::from_secs(60)];

/// Sends mail, one after another. What comes while one is being sent goes into the next together.
#[derive(Clone, Debug)]
pub struct Mailer(mpsc::Sender<Notification>);

#[derive(Debug)]
struct Notification {
    to: Mail,
    subject: String,
    text: String,
}

impl Mailer {
    /// A mailer of the machine of this name.
    #[must_use]
    pub fn start(host: String) -> Self {
        let (queue, notifications) = mpsc::channel(QUEUE);
        tokio::spawn(work(notifications, host));
        Self(queue)
    }

    /// Has a mail sent.
    pub fn send(&self, to: &Mail, subject: String, text: String) {
        if let Err(refused) = self.0.try_send(Notification { to: to.clone(), subject, text }) {
            tracing::error!("no mail of {:?}: {QUEUE} others wait", refused.into_inner().subject);
        }
    }
}

async fn work(mut notifications: mpsc::Receiver<Notification>, host: String) {
    loop {
        let mut together = Vec::new();
        if notifications.recv_many(&mut together, QUEUE).await == 0 {
            return;
        }
        let Some(last) = together.last().map(|notification| notification.to.clone()) else { continue };
        let message = match message(&together, &last, &host) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!("make a mail from {} to {}: {error}", last.from, last.to.join(", "));
                continue;
            }
        };
        for (attempt, pause) in (1..).zip(ATTEMPTS) {
            tokio::time::sleep(pause).await;
            match transport(&last, &host).send(message.clone()).await {
                Ok(_) => break,
                Err(error) => {
                    let next = if attempt == ATTEMPTS.len() { "it is lost" } else { "trying again" };
                    tracing::error!("send a mail by {}:{}: {error}; {next}", last.server, last.port);
                }
            }
        }
    }
}

fn transport(mail: &Mail, host: &str) -> AsyncSmtpTransport<Tokio1Executor> {
    let hello = mail.helo_name.clone().unwrap_or_else(|| host.to_owned());
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server)
        .port(mail.port)
        .timeout(Some(mail.connect_timeout))
        .hello_name(ClientId::Domain(hello))
        .build()
}

fn message(
    together: &[Notification],
    mail: &Mail,
    host: &str,
) -> Result<Message, Box<dyn std::error::Error + Send + Sync>> {
    let subject = match together {
        [only] => format!("[{host}] {}", only.subject),
        all => format!("[{host}] {} events, the first: {}", all.len(), all[0].subject),
    };
    let text: String = together
        .iter()
        .map(|notification| format!("{}\n{}\n\n", notification.subject, notification.text))
        .collect();
    let to: Vec<Mailbox> = mail.to.iter().map(|to| to.parse()).collect::<Result<_, _>>()?;
    let message = Message::builder()
        .from(mail.from.parse()?)
        .mailbox(lettre::message::header::To::from(Mailboxes::from(to)))
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(text)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    /// Takes one mail, as a mail server does, and returns what it was told.
    async fn receive(listener: &TcpListener) -> std::io::Result<String> {
        let (stream, _) = listener.accept().await?;
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let (mut told, mut is_data) = (String::new(), false);
        writer.write_all(b"220 mail.example.net\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            told += &format!("{line}\n");
            let answer = match line.get(..4).unwrap_or(&line) {
                "." => {
                    is_data = false;
                    "250 taken"
                }
                _ if is_data => continue,
                "DATA" => {
                    is_data = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                _ => "250 mail.example.net",
            };
            writer.write_all(format!("{answer}\r\n").as_bytes()).await?;
            if answer.starts_with("221") {
                break;
            }
        }
        Ok(told)
    }

    #[tokio::test]
    async fn what_comes_together_is_sent_together() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mail = Mail {
            server: "127.0.0.1".to_owned(),
            port: listener.local_addr()?.port(),
            from: "lb@example.net".to_owned(),
            to: vec!["ops@example.net".to_owned(), "Night <night@example.net>".to_owned()],
            helo_name: Some("director.example.net".to_owned()),
            connect_timeout: Duration::from_secs(5),
        };
        let mailer = Mailer::start("director1".to_owned());
        for server in ["192.0.2.10", "192.0.2.11"] {
            mailer.send(&mail, format!("real server {server} of web - DOWN"), "no answer".to_owned());
        }
        // A long header goes on in another line.
        let told = receive(&listener).await?.replace("\n ", " ");
        for part in [
            "EHLO director.example.net",
            "MAIL FROM:<lb@example.net>",
            "RCPT TO:<ops@example.net>",
            "RCPT TO:<night@example.net>",
            "Subject: [director1] 2 events, the first: real server 192.0.2.10 of web - DOWN",
            "real server 192.0.2.11 of web - DOWN\nno answer",
        ] {
            assert!(told.contains(part), "{part:?} is missing in {told}");
        }
        Ok(())
    }
}
