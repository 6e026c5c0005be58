// Starts a server on free ports with links of every kind, and stops or damages it.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

export const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = join(root, "target/debug/shunt");

/// Stands in every destination: a page that shows it tells what it must not.
export const secret = "keep-this-to-yourself";

const destination = `https://${secret}.example/`;
const links = [
  { code: "spring" },
  { code: "expired", expires_at: "2020-01-01T00:00:00Z" },
  { code: "limited", max_clicks: 1, clicks: 1 },
  { code: "disabled", status: "disabled" },
  { code: "archived", status: "archived" },
  { code: "blocked", status: "blocked" },
];

/// A server whose table has room for `links` and not for all of `others` more, so that a code it
/// does not know takes a look into the store.
export async function startServer({ environment = {}, others = 0 } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "shunt-pages-"));
  const data = join(folder, "data");
  const rows = [...links, ...Array.from({ length: others }, (_, n) => ({ code: `other-${n}` }))];
  const file = join(folder, "links.ndjson");
  await writeFile(file, rows.map((row) => JSON.stringify({ destination, ...row })).join("\n"));
  const env = {
    ...process.env,
    SHUNT_HTTP__LISTEN: "127.0.0.1:0",
    SHUNT_OPS__LISTEN: "127.0.0.1:0",
    SHUNT_STORAGE__PATH: data,
    SHUNT_LOG__FORMAT: "json",
    ...environment,
  };
  await run(binary, ["links", "import", file], { cwd: folder, env });
  const child = spawn(binary, ["serve"], { cwd: folder, env, stdio: ["ignore", "ignore", "pipe"] });
  const address = await ready(child);
  const stop = async () => {
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    await rm(folder, { recursive: true, force: true });
  };
  return { url: `http://${address.http}`, ops: `http://${address.ops}`, data, stop };
}

/// Waits for the line that tells the addresses, and for the table to be as full as it gets.
async function ready(child) {
  const log = [];
  let address;
  for await (const line of createInterface({ input: child.stderr })) {
    log.push(line);
    const { message, ...fields } = JSON.parse(line);
    if (message === "ready") address = fields;
    if (address && log.some((line) => line.includes("the link table is warm"))) {
      child.stderr.resume();
      return address;
    }
  }
  throw new Error(`the server ended before it was ready:\n${log.join("\n")}`);
}

/// Overwrites the store of a running server, as a disk that fails does, until every connection of
/// the server has noticed. One that has never reads the store again, so that answers stay the same.
export async function damageStore(server) {
  const deadline = Date.now() + 20_000;
  let tries = 0;
  for (let rounds = 0; rounds < 4; rounds += 1) {
    // Codes that nobody asked for before: an absent one is remembered for a while.
    const paths = Array.from({ length: 32 }, () => `/absent-${(tries += 1)}`);
    const answers = await Promise.all(paths.map((path) => fetch(server.url + path)));
    if (answers.every(({ status }) => status === 503)) continue;
    if (Date.now() > deadline) throw new Error("the server does not notice that its store is gone");
    await overwriteStore(server.data);
    rounds = -1;
  }
}

/// Zeros in the store and its log, and in the log's index, without which a connection has to forget
/// the pages that it has read.
async function overwriteStore(folder) {
  const files = (await readdir(folder)).filter((name) => /\.db(-wal|-shm)?$/.test(name));
  if (files.length === 0) throw new Error(`no store in ${folder}`);
  for (const name of files) {
    const path = join(folder, name);
    const { size } = await stat(path);
    const file = await open(path, "r+");
    await file.write(Buffer.alloc(size), 0, size, 0);
    await file.close();
  }
}

/// Requests that a server has answered, by route, from its metrics.
export async function answered(server, route) {
  const text = await (await fetch(`${server.ops}/metrics`)).text();
  const samples = text.split("\n").filter((line) =>
    line.startsWith("shunt_http_requests_total{") && line.includes(`route="${route}"`));
  return samples.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}
