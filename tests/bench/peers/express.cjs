// The server that guides for Express and jsonwebtoken tell how to write: access tokens by HS256, refresh tokens random,
// their hashes in SQLite, each swapped for a new one. No detection of reuse, no revocation of access tokens, no limits.
//
//   node express.cjs string|keyobject DATABASE
//
// Paths are those of Gatekey, so that the same clients can ask.

const { createHash, createSecretKey, randomBytes } = require('node:crypto');
const { DatabaseSync } = require('node:sqlite');
const express = require('express');
const jwt = require('jsonwebtoken');

const [kind, file] = process.argv.slice(2);
const secret = randomBytes(32).toString('hex');
// Guides hand the string to every call, which makes a key of it each time. A KeyObject is made once.
const key = kind === 'keyobject' ? createSecretKey(Buffer.from(secret)) : secret;

const db = new DatabaseSync(file);
// As durable as Gatekey is by default.
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
db.exec('CREATE TABLE refresh (hash BLOB PRIMARY KEY, subject TEXT NOT NULL, expires INTEGER NOT NULL) STRICT');
const insert = db.prepare('INSERT INTO refresh VALUES (?, ?, ?)');
const swap = db.prepare('UPDATE refresh SET hash = ?, expires = ? WHERE hash = ? AND expires > ? RETURNING subject');

const hash = (token) => createHash('sha256').update(token).digest();
const inAWeek = () => Date.now() + 7 * 86400 * 1000;
const access = (subject) =>
  jwt.sign({ username: 'alice', roles: [] }, key, {
    subject, issuer: 'https://auth.test', audience: 'https://auth.test', expiresIn: 900, jwtid: randomBytes(16).toString('hex'),
  });
const tokens = (subject, refresh) => ({ access_token: access(subject), token_type: 'Bearer', expires_in: 900, refresh_token: refresh });

const app = express();
app.disable('x-powered-by');
app.disable('etag');

function guard(request, response, next) {
  const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
  try {
    request.user = jwt.verify(token, key, { algorithms: ['HS256'], issuer: 'https://auth.test', audience: 'https://auth.test' });
    next();
  } catch {
    response.sendStatus(401);
  }
}

app.get('/bare', (request, response) => response.send('hello alice'));
app.get('/mine', guard, (request, response) => response.send(`hello ${request.user.username}`));

// No password is asked for: logins are not measured here.
app.post('/auth/login', (request, response) => {
  const refresh = randomBytes(32).toString('base64url');
  insert.run(hash(refresh), 'the-account-of-alice', inAWeek());
  response.json(tokens('the-account-of-alice', refresh));
});

app.post('/auth/token', express.json(), (request, response) => {
  const refresh = randomBytes(32).toString('base64url');
  const row = swap.get(hash(refresh), inAWeek(), hash(request.body.refresh_token), Date.now());
  if (row) response.json(tokens(row.subject, refresh));
  else response.sendStatus(401);
});

const server = app.listen(0, '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}`));
// Clients take turns with others, and wait between.
server.keepAliveTimeout = 600_000;
