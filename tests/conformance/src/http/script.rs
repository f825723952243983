//! The client for browsers that the routes serve.

use crate::{
    case::{Case, Outcome, Row, case, run},
    client::Response,
    verdict::equal,
};

pub(crate) const CASES: &[Case] = &[
    case(
        "script/is-a-small-module-that-needs-nothing",
        "`/gatekey.js` is one JavaScript module of at most 4 KiB that imports nothing, tagged with its hash.",
    )
    .spec(&["docs/contract.md 1.33", "docs/contract.md 2.31", "docs/contract.md 1.3", "RFC 9239 4"])
    .run(run!(async |host| {
        let answer = host.get("/gatekey.js").send().await?;
        answer.is(200)?;
        is_the_script(&answer)?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        equal("the module is of at most 4096 bytes", &(text.len() <= 4096), &true)?;
        equal("it exports", &text.contains("export{"), &true)?;
        let imports = text.contains("import ") || text.contains("import(") || text.contains("import\"");
        equal("it imports", &imports, &false)
    })),
    // A page that names the hash of a new version must never be given an old one by the browser's cache; and a browser that
    // has the newest need not load it again.
    case(
        "script/is-revalidated-by-its-tag",
        "A request that names the tag, in a list, weakly or by `*`, is answered 304 without a body; any other is sent it all.",
    )
    .spec(&["docs/contract.md 1.33", "docs/contract.md 2.31", "RFC 9110 13.1.2", "RFC 9110 15.4.5"])
    .run(run!(async |host| {
        let whole = host.get("/gatekey.js").send().await?;
        let tag = whole.header("etag").unwrap_or("").to_owned();
        let ask = |tags: &str| host.get("/gatekey.js").header("If-None-Match", tags);
        for tags in [tag.clone(), "*".to_owned(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let answer = ask(&tags).send().await?;
            answer.is(304).row(&tags)?;
            answer.standard().row(&tags)?;
            equal("the tag", &answer.header("etag"), &Some(tag.as_str())).row(&tags)?;
            equal("the bytes of a body", &answer.body.len(), &0).row(&tags)?;
        }
        for tags in ["\"other\"", tag.trim_matches('"'), ""] {
            let answer = ask(tags).send().await?;
            answer.is(200).row(tags)?;
            equal("the module", &answer.body, &whole.body).row(tags)?;
        }
        Ok(())
    })),
    case("script/asks-for-no-credential", "`/gatekey.js` is the same for everyone, and its refusals are like all others.")
        .spec(&["docs/contract.md 1.33", "docs/contract.md 2.31"])
        .run(run!(async |host| {
            let whole = host.get("/gatekey.js").send().await?;
            let with = host.get("/gatekey.js").bearer("not-a-token").same_origin().send().await?;
            with.is(200)?;
            equal("the module", &with.body, &whole.body)?;
            let query = host.get("/gatekey.js?v=1").send().await?;
            equal("the module", &query.body, &whole.body)?;
            host.post("/gatekey.js").send().await?.method_not_allowed(&["GET", "HEAD"])
        })),
];

fn is_the_script(answer: &Response) -> Outcome {
    answer.standard()?;
    equal("Content-Type", &answer.header("content-type"), &Some("text/javascript; charset=utf-8"))?;
    let tag = answer.header("etag").unwrap_or("");
    let hash = tag.strip_prefix("\"sha384-").and_then(|rest| rest.strip_suffix('"'));
    // 48 bytes in base64.
    equal("an ETag \"sha384-…\"", &hash.map(str::len), &Some(64))
}
