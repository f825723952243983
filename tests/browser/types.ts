// gatekey.js as a TypeScript program uses it: compiled by `cargo xtask js`, never run.

import { gatekey, Refused, type Options, type Session } from "../../packages/gatekey-js/gatekey.js";

const options: Options = { url: "https://api.example.com/auth", transport: "body", origins: [] };
const auth = gatekey(options);
const stop: () => void = auth.onChange((session: Session | null) => console.log(session?.username));
const session: Session = await auth.login({ username: "alice", password: "a pass phrase of mine" });
const roles: string[] = session.roles;
const answer: Response = await auth.fetch(new URL("https://api.example.com/notes"), { method: "POST" });
const left: number | undefined = auth.expiresIn;
const refused: Refused = await Refused.from(answer);
const field: string | undefined = refused.field;
console.log(stop, roles, left, field, (await auth.resume())?.sub, gatekey().session);

// @ts-expect-error: there is no such transport.
gatekey({ transport: "storage" });
// @ts-expect-error: who is logged in is the server's to say.
auth.session = null;
// @ts-expect-error: a password is needed.
await auth.login({ username: "alice" });
