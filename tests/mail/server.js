// A mail server for tests. What it is told is its first argument, as JSON: `port`, `user` and
// `password` (a login is needed then), `starttls`. It says its port on a line of JSON, then one line
// per mail. It ends with its standard input.
//
// Recipients decide: `busy-2@…` is put off twice (451), then taken; `refused@…` is refused (550).

import { readFileSync } from "node:fs";
import { simpleParser } from "mailparser";
import { SMTPServer } from "smtp-server";

const options = JSON.parse(process.argv[2] ?? "{}");
const file = (name) => readFileSync(new URL(name, import.meta.url));
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const refusal = (responseCode, text) => Object.assign(new Error(text), { responseCode });
const n_tries = new Map();

function onRcptTo({ address }, _session, done) {
  const tries = (n_tries.get(address) ?? 0) + 1;
  n_tries.set(address, tries);
  const [, times] = address.match(/^busy-(\d+)@/) ?? [];
  if (tries <= Number(times ?? 0)) return done(refusal(451, `4.2.1 <${address}> is busy`));
  if (address.startsWith("refused@")) return done(refusal(550, `5.1.1 <${address}> is unknown`));
  done();
}

function onAuth({ username, password }, _session, done) {
  const known = username === options.user && password === options.password;
  done(known ? null : refusal(535, "5.7.8 wrong login"), known ? { user: username } : undefined);
}

async function onData(stream, session, done) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const raw = Buffer.concat(chunks);
  const mail = await simpleParser(raw);
  const headers = Object.fromEntries(mail.headerLines.map(({ key, line }) => [key, line]));
  say({
    to: session.envelope.rcptTo.map(({ address }) => address),
    from: session.envelope.mailFrom.address,
    subject: mail.subject ?? "",
    text: mail.text ?? "",
    headers,
    n_headers: mail.headerLines.length,
    n_attachments: mail.attachments.length,
    html: mail.html !== false,
    user: session.user ?? null,
    secure: session.secure,
  });
  done();
}

const server = new SMTPServer({
  key: file("key.pem"),
  cert: file("certificate.pem"),
  disabledCommands: options.starttls ? [] : ["STARTTLS"],
  allowInsecureAuth: true,
  authOptional: options.user === undefined,
  disableReverseLookup: true,
  onRcptTo,
  onAuth,
  onData,
});
// Peers that hang up are what some tests are about.
server.on("error", () => {});
server.listen(options.port ?? 0, "127.0.0.1", () => say({ port: server.server.address().port }));
process.stdin.on("end", () => process.exit()).resume();
