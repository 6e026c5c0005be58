// A real OpenID Connect provider on a free port of this machine. Prints its issuer on one line and
// runs until its input ends, so that it never outlives the test that started it.
//
//   node provider.js REDIRECT_URI…

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

// Standard output is for the issuer alone; notices of the library go where its warnings go.
console.info = console.error;

const API = "https://shunt.test/api";
const redirects = process.argv.slice(2);

const key = (type, options, id) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }),
  kid: id,
  use: "sig",
});

const client = (id, more) => ({
  client_id: id,
  redirect_uris: redirects,
  post_logout_redirect_uris: redirects.map((uri) => new URL("/", uri).href),
  response_types: ["code"],
  grant_types: ["authorization_code"],
  ...more,
});

const configuration = {
  clients: [
    client("shunt", { client_secret: "a secret: with / signs" }),
    client("shunt-post", {
      client_secret: "another secret",
      token_endpoint_auth_method: "client_secret_post",
      id_token_signed_response_alg: "ES256",
    }),
    client("shunt-public", { token_endpoint_auth_method: "none" }),
    // A program that calls the API in its own name.
    client("robot", {
      client_secret: "robots have secrets",
      redirect_uris: [],
      post_logout_redirect_uris: [],
      response_types: [],
      grant_types: ["client_credentials"],
    }),
  ],
  jwks: {
    keys: [
      key("rsa", { modulusLength: 2048 }, "rsa"),
      key("ec", { namedCurve: "P-256" }, "ec"),
    ],
  },
  pkce: { required: () => true },
  cookies: { keys: ["signs the cookies of this provider"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  // Whoever signs in as `ada` is Ada, with any password.
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({
      sub,
      email: `${sub}@example.com`,
      email_verified: !sub.startsWith("unverified"),
      name: sub[0].toUpperCase() + sub.slice(1),
    }),
  }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: "api",
        audience: resource === API ? API : "https://elsewhere.example/",
        accessTokenFormat: "jwt",
        accessTokenTTL: 300,
      }),
    },
    rpInitiatedLogout: { enabled: true },
  },
};

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  server.on("request", new Provider(issuer, configuration).callback());
  process.stdout.write(`${issuer}\n`);
});
process.stdin.resume().on("end", () => process.exit(0));
