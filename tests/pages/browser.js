// One browser for all tests: Debian's own, so that nothing is downloaded.

import axe from "axe-core";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/// What WCAG 2.2 AA asks for as far as a machine can tell, and what axe holds to be good practice.
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export const screens = [
  { colorScheme: "light", width: 320, height: 568 },
  { colorScheme: "dark", width: 320, height: 568 },
  { colorScheme: "light", width: 1440, height: 900 },
  { colorScheme: "dark", width: 1440, height: 900 },
];

export const startBrowser = () => chromium.launch({ executablePath, args: ["--no-sandbox"] });

/// Opens `url` as a visitor does and notes everything that a visitor would not want to happen.
export async function visit(browser, url, { width, height, ...options }) {
  const viewport = { width, height };
  const context = await browser.newContext({ viewport, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const requests = [];
  const complaints = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // The browser notes the status of the page itself; the tests look at that one.
    const about = message.location().url;
    const own = about === url && message.text().startsWith("Failed to load resource");
    if (!own && message.type() !== "debug") complaints.push(message.text());
  });
  const response = await page.goto(url, { waitUntil: "networkidle" });
  return { page, response, requests, complaints, close: () => context.close() };
}

/// What axe has to say against a page, one line each.
export async function accessibilityProblems(page) {
  // Not a script of the page: the browser runs it whatever the page's policy says.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(
    (values) => globalThis.axe.run({ runOnly: { type: "tag", values } }),
    rules,
  );
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.html}`));
}

/// Pixels by which the page is wider than the screen.
export const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
