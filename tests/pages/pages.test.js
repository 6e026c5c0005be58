// Every page as a visitor sees it: in a browser, light and dark, on a phone and on a desk.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { accessibilityProblems, overflow, screens, startBrowser, visit } from "./browser.js";
import { answered, damageStore, root, secret, startServer } from "./server.js";

const refusals = [
  { path: "/nowhere", status: 404, code: "not_found", heading: "Link not found" },
  { path: "/expired", status: 410, code: "link_expired", heading: "This link has expired" },
  { path: "/limited", status: 410, code: "link_exhausted", heading: "This link is used up" },
  { path: "/disabled", status: 410, code: "link_disabled", heading: "This link is switched off" },
  { path: "/archived", status: 410, code: "link_archived", heading: "This link is no longer in use" },
  { path: "/blocked", status: 403, code: "link_blocked", heading: "This link has been blocked" },
];
const unavailable = {
  path: "/never-was", status: 503, code: "unavailable", heading: "Please try again in a moment",
};
const home = { path: "/", status: 200, heading: "Short links live here" };

let browser;
let server;
let damaged;
let branded;

before(async () => {
  const environment = {
    SHUNT_PAGES__TEMPLATES: join(root, "examples/pages"),
    SHUNT_PAGES__HOME_URL: "https://company.example/",
  };
  [browser, server, damaged, branded] = await Promise.all([
    startBrowser(),
    startServer(),
    startServer({ environment: { SHUNT_LINKS__MEMORY_MAX: "1MiB" }, others: 30_000 }),
    startServer({ environment }),
  ]);
  await damageStore(damaged);
});

after(async () => {
  await browser?.close();
  await Promise.all([server, damaged, branded].map((each) => each?.stop()));
});

/// Looks at one page on every screen.
function inspect(origin, { path, status, heading }) {
  const url = new URL(path, origin).href;
  return Promise.all(screens.map(async (screen) => {
    const where = `${path} ${screen.colorScheme} ${screen.width}`;
    const { page, response, requests, complaints, close } = await visit(browser, url, screen);
    assert.equal(response.status(), status, where);
    assert.match(await page.title(), new RegExp(heading), where);
    assert.deepEqual(await page.getByRole("heading", { level: 1 }).allTextContents(), [heading]);
    assert.equal(await page.locator("html").getAttribute("lang"), "en", where);
    assert.deepEqual(await accessibilityProblems(page), [], where);
    assert.equal(await overflow(page), 0, `${where} scrolls sideways`);
    await page.evaluate(() => { document.documentElement.dir = "rtl"; });
    assert.equal(await overflow(page), 0, `${where} scrolls sideways from right to left`);
    assert.deepEqual(requests, [url], `${where} asks for more than itself`);
    assert.deepEqual(complaints, [], where);
    assert.ok(!(await page.content()).includes(secret), `${where} shows the destination`);
    await close();
  }));
}

/// The answer that `curl` would show.
function ask(origin, path, { method = "GET", accept = "*/*" } = {}) {
  return fetch(new URL(path, origin), { method, headers: { accept }, redirect: "manual" });
}

describe("built-in pages", () => {
  for (const expected of [...refusals, home]) {
    test(`${expected.path} is right on every screen`, () => inspect(server.url, expected));
  }
  test("a store that is gone is right on every screen", () => inspect(damaged.url, unavailable));

  test("the browser asks for no icon", async () => {
    const { close } = await visit(browser, `${server.url}/nowhere`, screens[0]);
    await close();
    assert.equal(await answered(server, "/favicon.ico"), 0);
  });

  test("are small, and complete without any other file", async () => {
    for (const { path } of [...refusals, home]) {
      const html = await (await ask(server.url, path)).text();
      assert.ok(Buffer.byteLength(html) < 8_192, `${path} has ${Buffer.byteLength(html)} bytes`);
      assert.doesNotMatch(html, /<script|<link rel="stylesheet|@import|\{\{/);
    }
  });

  test("the page is dark in the dark", async () => {
    const colours = new Set();
    for (const screen of screens) {
      const { page, close } = await visit(browser, `${server.url}/nowhere`, screen);
      colours.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await close();
    }
    assert.deepEqual([...colours], ["rgb(243, 244, 247)", "rgb(14, 17, 22)"]);
  });

  test("trying again is one key away, visibly", async () => {
    const url = `${damaged.url}${unavailable.path}?a=1`;
    const { page, requests, close } = await visit(browser, url, screens[0]);
    await page.keyboard.press("Tab");
    const link = page.getByRole("link", { name: "Try again" });
    assert.ok(await link.evaluate((element) => element === document.activeElement));
    assert.notEqual(await link.evaluate((element) => getComputedStyle(element).outlineStyle), "none");
    assert.ok((await link.boundingBox()).height >= 44, "too small for a finger");
    await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
    assert.deepEqual(requests, [url, url]);
    await close();
  });

  test("no link to anywhere without a website to go to", async () => {
    const { page, close } = await visit(browser, `${server.url}/nowhere`, screens[0]);
    assert.equal(await page.getByRole("link").count(), 0);
    await close();
  });

  test("long words break and letters twice as large fit", async () => {
    const { page, close } = await visit(browser, `${server.url}/expired`, screens[0]);
    await page.evaluate(() => {
      for (const text of document.querySelectorAll("h1, p")) text.append("w".repeat(200));
      document.documentElement.style.fontSize = "200%";
    });
    assert.equal(await overflow(page), 0);
    await close();
  });

  test("print in black on white", async () => {
    const { page, close } = await visit(browser, `${server.url}/expired`, screens[1]);
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    const [paper, ink] = await page.evaluate(() => {
      const style = getComputedStyle(document.body);
      return [style.backgroundColor, style.color];
    });
    assert.deepEqual([paper, ink], ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]);
    await close();
  });

  test("the policy stops what is not on the page", async () => {
    const { page, complaints, close } = await visit(browser, `${server.url}/nowhere`, screens[0]);
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'run'";
      const style = document.createElement("style");
      style.textContent = "h1 { color: rgb(1, 2, 3) }";
      document.head.append(script, style);
    });
    assert.equal(await page.title(), "Link not found");
    const colour = await page.evaluate(() => getComputedStyle(document.querySelector("h1")).color);
    assert.notEqual(colour, "rgb(1, 2, 3)");
    assert.equal(complaints.length, 2, complaints.join("\n"));
    await close();
  });
});

describe("pages that mails lead to", () => {
  // Well formed, and of nobody: opening a page asks for no more.
  const nobodys = "A".repeat(43);
  const verify = `/app/verify-email?token=shuntv_${nobodys}`;
  const reset = `/app/reset-password?token=shuntp_${nobodys}`;
  const spent = "This link cannot be used";

  for (const expected of [
    { path: verify, status: 200, heading: "Confirm your address" },
    { path: reset, status: 200, heading: "Choose a new password" },
    { path: `/app/join?token=shunti_${nobodys}`, status: 200, heading: "Join a workspace" },
    { path: "/app/join", status: 400, heading: spent },
  ]) {
    test(`${expected.path.split("?")[0]} ${expected.status} is right on every screen`, () =>
      inspect(server.url, expected));
  }

  test("send their form with one key, and take the secret out of the address", async () => {
    const { page, close } = await visit(browser, server.url + verify, screens[0]);
    await page.keyboard.press("Tab");
    const button = page.getByRole("button", { name: "Confirm" });
    assert.ok(await button.evaluate((element) => element === document.activeElement));
    assert.notEqual(await button.evaluate((element) => getComputedStyle(element).outlineStyle), "none");
    assert.ok((await button.boundingBox()).height >= 44, "too small for a finger");
    const answered = page.waitForResponse((response) => response.request().method() === "POST");
    await page.keyboard.press("Enter");
    assert.equal((await answered).status(), 400);
    await page.getByRole("heading", { name: spent }).waitFor();
    assert.equal(page.url(), `${server.url}/app/verify-email`);
    await close();
  });

  test("say on every screen why a form is not taken", async () => {
    const post = async (path, body, token) => {
      const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
      const answer = await fetch(`${server.url}/api/v1${path}`, { method: "POST", headers, body: JSON.stringify(body) });
      assert.equal(answer.status, 201);
      return answer.json();
    };
    const owner = { email: "owner@example.com", password: "correct Horse battery 9" };
    const { access_token: access } = await post("/auth/register", owner);
    for (const [index, screen] of screens.entries()) {
      const { token } = await post("/invitations", { role: "viewer" }, access);
      const { page, close } = await visit(browser, `${server.url}/app/join?token=${token}`, screen);
      const form = page.getByRole("form", { name: "I am new" });
      await form.getByLabel("E-mail").fill(`guest-${index}@example.com`);
      await form.getByLabel("New password").fill("weak");
      await form.getByRole("button").click();
      const reasons = page.getByRole("alert");
      await reasons.waitFor();
      assert.match(await reasons.innerText(), /A password has at least 8 characters\./);
      assert.equal(await form.getByLabel("New password").inputValue(), "");
      assert.equal(await form.getByLabel("E-mail").inputValue(), `guest-${index}@example.com`);
      assert.deepEqual(await accessibilityProblems(page), []);
      assert.equal(await overflow(page), 0);
      await form.getByLabel("New password").fill("another Horse 12 staple");
      await form.getByRole("button").click();
      await page.getByRole("heading", { name: "You have joined" }).waitFor();
      await close();
    }
  });

  test("let nobody in without what has to be filled in", async () => {
    const { page, requests, close } = await visit(browser, server.url + reset, screens[2]);
    await page.getByRole("button").click();
    assert.equal(await page.getByLabel("New password").evaluate((input) => input.validity.valueMissing), true);
    assert.equal(requests.length, 1);
    await close();
  });
});

describe("for programs", () => {
  const json = "application/json";

  for (const [origin, expected] of [
    ...refusals.map((each) => [() => server.url, each]),
    [() => damaged.url, unavailable],
  ]) {
    const { status, code } = expected;
    test(`${code} is a problem document`, async () => {
      const answer = await ask(origin(), expected.path, { accept: json });
      assert.equal(answer.status, status);
      assert.equal(answer.headers.get("content-type"), "application/problem+json");
      assert.equal(answer.headers.get("retry-after"), status === 503 ? "5" : null);
      const { type, status: stated, code: named, ...rest } = await answer.json();
      assert.deepEqual([type, stated, named], [`/problems/${code}`, status, code]);
      assert.ok(!JSON.stringify(rest).includes(secret));
    });

    test(`${code} has the same head without its body`, async () => {
      for (const accept of ["text/html", json]) {
        const [get, head] = await Promise.all(["GET", "HEAD"].map((method) =>
          ask(origin(), expected.path, { method, accept })));
        const fixed = (answer) => [...answer.headers].filter(([name]) =>
          !["date", "x-request-id", "connection", "keep-alive"].includes(name));
        assert.equal(head.status, status);
        assert.deepEqual(fixed(head), fixed(get));
        assert.equal(await head.text(), "");
        assert.equal((await get.arrayBuffer()).byteLength, Number(head.headers.get("content-length")));
      }
    });
  }

  test("crawlers and browsers find the small documents they look for", async () => {
    const robots = await ask(server.url, "/robots.txt");
    assert.match(robots.headers.get("content-type"), /^text\/plain/);
    assert.match(await robots.text(), /^Disallow: \/api\/$/m);
    const icon = await ask(server.url, "/favicon.ico");
    assert.deepEqual([icon.status, await icon.text()], [404, ""]);
    assert.match(icon.headers.get("cache-control"), /max-age=86400/);
  });
});

describe("an operator's own pages", () => {
  test("replace the built-in one on every screen", () =>
    inspect(branded.url, { path: "/nowhere", status: 404, heading: "Link not found" }));

  test("look as their author made them", async () => {
    const { page, close } = await visit(browser, `${branded.url}/nowhere`, screens[2]);
    assert.equal(await page.title(), "Link not found · Example Company");
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(paper, "rgb(255, 253, 247)");
    assert.ok(await page.getByRole("img").evaluate((image) => image.naturalWidth > 0), "no logo");
    await close();
  });

  test("stand beside built-in ones, which lead to the operator's website", async () => {
    await inspect(branded.url, refusals[1]);
    const { page, close } = await visit(browser, `${branded.url}/expired`, screens[0]);
    const link = page.getByRole("link", { name: "Go to our website" });
    assert.equal(await link.getAttribute("href"), "https://company.example/");
    await close();
    const answer = await ask(branded.url, "/");
    assert.deepEqual([answer.status, answer.headers.get("location")], [302, "https://company.example/"]);
  });
});
