// The server that the guide of better-auth for Node tells how to write: a session in a cookie, asked for by getSession.
//
//   node better-auth.cjs cookie-cache
//
// With its cookie cache, which its guide advises where sessions are asked for often: a second cookie holds the session and
// the account, signed, and while that is valid no store is asked. So its store is its own adapter in memory: it is
// asked at logins alone, and any other would be slower there. Paths are those of Gatekey, so that the same clients can
// ask; the "access token" of a login is what a browser sends back, the cookies of the answer. Node from 20.19, which can
// require modules.

const { createServer } = require('node:http');
const { randomBytes } = require('node:crypto');
const { betterAuth } = require('better-auth');
const { memoryAdapter } = require('better-auth/adapters/memory');
const { fromNodeHeaders } = require('better-auth/node');

const auth = betterAuth({
  baseURL: 'https://auth.test',
  secret: randomBytes(32).toString('hex'),
  database: memoryAdapter({ user: [], session: [], account: [], verification: [] }),
  emailAndPassword: {
    enabled: true,
    // No password is asked for: logins are not measured here.
    password: { hash: async () => 'none', verify: async () => true },
  },
  // The default strategy: signed, and not encrypted. It outlives the run, as the tokens beside it do.
  session: { cookieCache: { enabled: true, strategy: 'compact', maxAge: 24 * 3600 } },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
});

const alice = { email: 'alice@auth.test', password: 'a long enough pass phrase' };

function send(response, status, type, text) {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

async function logIn(response) {
  const { headers } = await auth.api.signInEmail({ body: alice, returnHeaders: true });
  const cookies = headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ');
  send(response, 200, 'application/json', JSON.stringify({ access_token: cookies, refresh_token: '' }));
}

async function mine(request, response) {
  const session = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
  if (session) send(response, 200, 'text/plain', `hello ${session.user.name}`);
  else send(response, 401, 'text/plain', 'Unauthorized');
}

const server = createServer((request, response) => {
  const answered = request.url === '/mine' ? mine(request, response)
    : request.url === '/auth/login' ? logIn(response)
    : send(response, 404, 'text/plain', 'Not Found');
  answered?.catch((error) => send(response, 500, 'text/plain', String(error)));
});
// Clients take turns with others, and wait between.
server.keepAliveTimeout = 600_000;

auth.api.signUpEmail({ body: { ...alice, name: 'alice' } }).then(() => {
  server.listen(0, '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}`));
});
