// The page of the examples, as somebody uses it: by what is written on it.

/** Opens the page and waits until it knows who is logged in. */
export async function open(page, origin) {
  await page.goto(`${origin}/`);
  await page.locator("#waiting").waitFor({ state: "hidden" });
}

/** The form under this heading. */
export const form = (page, name) => page.locator("form").filter({ has: page.getByRole("heading", { name }) });

/** Fills a form in and sends it. */
export async function send(form, fields, button) {
  for (const [label, text] of Object.entries(fields)) await form.getByLabel(label, { exact: true }).fill(text);
  await form.getByRole("button", { name: button }).click();
}

export async function register(page, { username, password }) {
  const there = form(page, "Create an account");
  if (!(await there.isVisible())) await page.getByRole("button", { name: "Create an account" }).click();
  await send(there, { Username: username, Password: password }, "Create the account");
}

export const logIn = (page, { username, password }) =>
  send(form(page, "Log in"), { Username: username, Password: password }, "Log in");

export const changePassword = (page, current, next) =>
  send(form(page, "Change your password"), { "Current password": current, "New password": next }, "Change the password");

/** A new tab of this person, on the page and logged in. */
export async function loggedIn(person, origin, user) {
  const page = await person.newPage();
  await open(page, origin);
  await logIn(page, user);
  await seesHello(page, user);
  return page;
}

export const logOut = (page) => page.getByRole("button", { name: "Log out", exact: true }).click();
export const refresh = (page) => page.getByRole("button", { name: "Refresh now" }).click();

export const sees = (page, text) => page.getByText(text).first().waitFor();
export const seesHello = (page, user) => page.getByRole("heading", { name: `Hello, ${user.username}` }).waitFor();
export const seesLogin = (page) => page.getByRole("heading", { name: "Log in" }).waitFor();

/** The rows of the list of sessions, as text. */
export const sessions = (page) => page.locator("#sessions > li").allInnerTexts();

/** A client of its own in this tab, beside that of the page: `client` in the scripts of tests. */
export const addClient = (page, options) =>
  page.evaluate(async (options) => {
    const { gatekey } = await import("/auth/gatekey.js");
    globalThis.client = gatekey(options);
  }, options);

/** What is in the cookie jar for the application: name to value. */
export async function jar(person, origin) {
  const cookies = await person.cookies(origin);
  return Object.fromEntries(cookies.map(({ name, value }) => [name, value]));
}

export const ACCESS = "__Host-gatekey_access";
export const REFRESH = "__Host-gatekey_refresh";
