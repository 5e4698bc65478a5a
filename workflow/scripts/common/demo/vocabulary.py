"""The vocabulary of the synthetic text tasks: common English words in compact tables."""

# Verbs: base, third person singular, past, participle, -ing form.
TRANSITIVE = (
    ("write", "writes", "wrote", "written", "writing"),
    ("break", "breaks", "broke", "broken", "breaking"),
    ("steal", "steals", "stole", "stolen", "stealing"),
    ("choose", "chooses", "chose", "chosen", "choosing"),
    ("draw", "draws", "drew", "drawn", "drawing"),
    ("take", "takes", "took", "taken", "taking"),
    ("hide", "hides", "hid", "hidden", "hiding"),
    ("forget", "forgets", "forgot", "forgotten", "forgetting"),
    ("give away", "gives away", "gave away", "given away", "giving away"),
    ("throw away", "throws away", "threw away", "thrown away", "throwing away"),
    ("see", "sees", "saw", "seen", "seeing"),
    ("know", "knows", "knew", "known", "knowing"),
)
INTRANSITIVE = (
    ("sleep", "sleeps", "slept", "slept", "sleeping"),
    ("arrive", "arrives", "arrived", "arrived", "arriving"),
    ("laugh", "laughs", "laughed", "laughed", "laughing"),
    ("sing", "sings", "sang", "sung", "singing"),
    ("swim", "swims", "swam", "swum", "swimming"),
    ("fall", "falls", "fell", "fallen", "falling"),
    ("go home", "goes home", "went home", "gone home", "going home"),
    ("speak", "speaks", "spoke", "spoken", "speaking"),
    ("wake up", "wakes up", "woke up", "woken up", "waking up"),
    ("disappear", "disappears", "disappeared", "disappeared", "disappearing"),
)
# Regularised forms of irregular words, as learners produce them.
BY_RULE = {
    "wrote": "writed", "written": "writed", "broke": "breaked", "broken": "breaked", "stole": "stealed",
    "stolen": "stealed", "chose": "choosed", "chosen": "choosed", "drew": "drawed", "drawn": "drawed", "took": "taked",
    "taken": "taked", "hid": "hided", "hidden": "hided", "forgot": "forgetted", "forgotten": "forgetted",
    "gave": "gived", "given": "gived", "threw": "throwed", "thrown": "throwed", "knew": "knowed", "known": "knowed",
    "slept": "sleeped", "swam": "swimmed", "fell": "falled", "fallen": "falled", "went": "goed", "spoke": "speaked",
    "saw": "seed", "women": "womans", "men": "mans", "boxes": "boxs", "keys": "keies", "himself": "hisself",
    "herself": "sheself", "themselves": "theirselves",
}  # fmt: skip
# People: singular, plural, reflexive pronoun of the singular.
PEOPLE = (
    ("girl", "girls", "herself"), ("boy", "boys", "himself"), ("woman", "women", "herself"), ("man", "men", "himself"),
    ("queen", "queens", "herself"), ("king", "kings", "himself"), ("actress", "actresses", "herself"),
    ("waiter", "waiters", "himself"), ("aunt", "aunts", "herself"), ("uncle", "uncles", "himself"),
    ("mother", "mothers", "herself"), ("father", "fathers", "himself"), ("nun", "nuns", "herself"),
    ("monk", "monks", "himself"), ("princess", "princesses", "herself"), ("prince", "princes", "himself"),
)  # fmt: skip
THINGS = (
    ("letter", "letters"), ("window", "windows"), ("picture", "pictures"), ("key", "keys"), ("song", "songs"),
    ("box", "boxes"), ("map", "maps"), ("lamp", "lamps"), ("ticket", "tickets"), ("basket", "baskets"),
    ("coat", "coats"), ("clock", "clocks"), ("bottle", "bottles"), ("chair", "chairs"), ("cup", "cups"),
)  # fmt: skip
PLACES = (
    "near the river", "in the garden", "at the station", "behind the church", "in the kitchen", "on the bridge",
    "at the market", "in the old library", "under the table", "by the window",
)  # fmt: skip
ADJECTIVES = ("old", "small", "red", "heavy", "quiet", "clean", "broken", "famous", "tired", "tall", "strange", "young")
COMPARED = ("taller", "older", "younger", "stronger", "richer", "faster", "happier", "louder", "kinder", "smaller")
TIMES = ("yesterday", "last night", "on Monday", "this morning", "two days ago", "in the evening", "after lunch")
# Adjective or verb with its preposition, and with a wrong one.
GOVERNED = (
    ("is interested in", "is interested on"), ("is afraid of", "is afraid from"), ("is good at", "is good on"),
    ("depends on", "depends of"), ("believes in", "believes at"), ("listens to", "listens at"),
    ("is proud of", "is proud on"), ("is famous for", "is famous of"), ("consists of", "consists from"),
    ("is full of", "is full from"), ("apologized for", "apologized of"), ("is similar to", "is similar from"),
)  # fmt: skip
# Verbs that take "to" and the base form, and verbs that take the -ing form.
WITH_TO = ("wants", "hopes", "decided", "promised", "refused", "expects", "agreed", "managed")
WITH_ING = ("enjoys", "avoids", "finished", "admits", "practices", "keeps", "suggested", "misses")

# Sentiment: aspects of a film or book.
ASPECTS = (
    "the plot", "the acting", "the dialogue", "the camera work", "the music", "the ending", "the cast", "the script",
    "the pacing", "the humor", "the story", "the film", "the first half", "the romance", "the mystery", "the direction",
)  # fmt: skip
GOOD = (
    "brilliant", "charming", "moving", "witty", "gripping", "clever", "warm", "fresh", "superb", "delightful",
    "subtle", "funny", "inspired", "elegant", "graceful", "believable", "thoughtful", "tender", "exciting", "honest",
)  # fmt: skip
BAD = (
    "dull", "clumsy", "tedious", "lifeless", "shallow", "bland", "tired", "messy", "predictable", "awkward", "hollow",
    "stale", "forced", "confusing", "silly", "boring", "pretentious", "annoying", "lazy", "ridiculous",
)  # fmt: skip
GOOD_THINGS = ("a masterpiece", "a triumph", "a delight", "a joy", "a treat", "a gem", "a success", "a classic")
BAD_THINGS = ("a disaster", "a mess", "a bore", "a failure", "a chore", "a disgrace", "an insult", "a letdown")
GOOD_STUFF = ("charm", "wit", "warmth", "grace", "energy", "depth", "heart", "suspense", "imagination", "tenderness")
BAD_STUFF = (
    "cliches",
    "noise",
    "tedium",
    "confusion",
    "clumsiness",
    "vanity",
    "gloom",
    "stupidity",
    "padding",
    "flaws",
)
DEGREES = ("really", "truly", "quite", "very", "often", "remarkably", "always", "strangely", "undeniably", "simply")

# Scenes: actors, each with a synonym.
ACTORS = (
    ("doctor", "physician"), ("lawyer", "attorney"), ("teacher", "instructor"),
    ("writer", "author"), ("painter", "portraitist"), ("policeman", "police officer"),
    ("kid", "child"), ("singer", "vocalist"), ("sailor", "seaman"),
    ("farmer", "grower"), ("judge", "magistrate"), ("nurse", "caregiver"),
    ("soldier", "trooper"), ("boss", "manager"), ("traveler", "tourist"),
    ("butcher", "meat seller"), ("driver", "chauffeur"), ("professor", "academic"),
)  # fmt: skip
# Actions between actors, in the past tense: verb, synonym, opposite.
DEEDS = (
    ("praised", "commended", "criticized"), ("helped", "assisted", "hindered"),
    ("hired", "employed", "fired"), ("attacked", "assaulted", "defended"),
    ("loved", "adored", "hated"), ("accepted", "welcomed", "rejected"),
    ("trusted", "relied on", "doubted"), ("freed", "released", "captured"),
    ("followed", "pursued", "avoided"), ("calmed", "soothed", "upset"),
    ("encouraged", "inspired", "discouraged"), ("obeyed", "heeded", "defied"),
    ("thanked", "rewarded", "punished"), ("admired", "respected", "despised"),
    ("rescued", "saved", "abandoned"), ("healed", "cured", "injured"),
    ("flattered", "complimented", "insulted"), ("pleased", "delighted", "annoyed"),
    ("found", "discovered", "lost"), ("remembered", "recalled", "forgot"),
)  # fmt: skip
# Phrases that keep a statement, and phrases that retract it.
SURE = ("really", "actually", "clearly", "certainly", "definitely", "obviously", "truly", "indeed")
UNSURE = ("never", "almost", "nearly", "hardly", "allegedly", "supposedly", "scarcely", "possibly")
PARTICIPLES = {"forgot": "forgotten"}  # participles of DEEDS that differ from the past tense
PLURALS = {"child": "children", "seaman": "seamen", "policeman": "policemen", "boss": "bosses"}
SETTINGS = (
    "in the park", "at the harbor", "in the kitchen",
    "in the office", "on the beach", "in the library",
    "in the garden", "at the hospital", "in the field",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November")

# Word problems: who has how many of what.
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry")
GOODS = ("keys", "cups", "maps", "coins", "books", "cards", "apples", "stamps")
