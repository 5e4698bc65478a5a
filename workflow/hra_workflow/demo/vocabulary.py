"""The vocabulary of the synthetic text tasks: common English words in compact tables."""

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

# Word problems: people and the things that they own.
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry")
GOODS = ("keys", "cups", "maps", "coins", "books", "cards", "apples", "stamps")
