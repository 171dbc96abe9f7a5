"""Writes short instruction, answer and dialogue rows in simple English; refuses to repeat a row or to use sample data sets.

python turns.py --corpus DIR --rows N --out FILE [--seed S]

Each row is {"task", "messages": [{role, content}...]}. Some tasks are drawn from word lists, some are built around the
training stories of corpus.py (continue, tell, who, which word, change a name).
"""
import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

import words as W


def pairs(lines):
    return [tuple(item.split(":")) for item in lines]


def table(text):
    return [([q.strip() for q in left.split("/")], [a.strip() for a in right.split("/")])
            for left, right in (line.split(" | ") for line in text.strip().split("\n"))]


OPPOSITES, PAST, SOUNDS, PLURALS = map(pairs, (W.OPPOSITES, W.PAST, W.SOUNDS, W.PLURALS))
FACTS, TALK, HOWTO = table(W.FACTS), table(W.TALK), table(W.HOWTO)
THINGS = W.TOYS + W.CLOTHES + W.FRUITS + W.TOOLS + W.FURNITURE


def an(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun):
    if noun in dict(PLURALS):
        return dict(PLURALS)[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def joined(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def cap(text):
    return text[0].upper() + text[1:]


class Writer:
    """One method a task; each returns (user text, assistant text)."""

    def __init__(self, rng, stories):
        self.rng, self.stories, self.pick = rng, stories, rng.choice

    def sentences(self):
        story = self.pick(self.stories)
        return story, re.findall(r'[^.!?]+[.!?]+"?', story.split("\n")[0])

    def count(self):
        r = self.rng
        if r.random() < 0.3:
            return self.pick(["Count to ten.", "Please count to ten.", "Can you count to ten?", "Count from 1 to 10."]), \
                " ".join(map(str, range(1, 11)))
        low = r.randint(0, 30)
        high = low + r.randint(2, 12)
        if r.random() < 0.2:
            return self.pick([f"Count down from {high} to {low}.", f"Count backwards from {high} to {low}."]), \
                " ".join(map(str, range(high, low - 1, -1)))
        if r.random() < 0.2 and high <= 20:
            return f"Count from {W.NUMBERS[low]} to {W.NUMBERS[high]} in words.", " ".join(W.NUMBERS[low:high + 1])
        return self.pick([f"Count from {low} to {high}.", f"Please count from {low} up to {high}.",
                          f"Say the numbers from {low} to {high}."]), " ".join(map(str, range(low, high + 1)))

    def number(self):
        n, m = self.rng.randint(1, 19), self.rng.randint(1, 10)
        return self.pick([
            (self.pick([f"What number comes after {n}?", f"Which number is next after {n}?"]), f"{n + 1} comes after {n}."),
            (f"What number comes before {n}?", f"{n - 1} comes before {n}."),
            (f"Write {n} as a word.", W.NUMBERS[n]), (f"Write {W.NUMBERS[n]} as a number.", str(n)),
            (self.pick([f"What is {n} plus {m}?", f"Add {n} and {m}."]), f"{n} plus {m} is {n + m}."),
            (f"{n} + {m} =", str(n + m)), (f"Which is more, {n} or {n + m}?", f"{n + m} is more."),
            (f"I have {n} {plural(self.pick(W.FRUITS))} and get {m} more. How many do I have?", f"You have {n + m}."),
        ])

    def calendar(self):
        names, word = self.pick([(W.DAYS, "day"), (W.MONTHS, "month")])
        i = self.rng.randrange(len(names))
        after, before = names[(i + 1) % len(names)], names[i - 1]
        return self.pick([(self.pick([f"What {word} comes after {names[i]}?", f"Which {word} is after {names[i]}?"]),
                           f"{after} comes after {names[i]}."),
                          (f"What {word} comes before {names[i]}?", f"{before} comes before {names[i]}."),
                          (self.pick([f"Name the {word}s in order.", f"List all the {word}s."]), joined(names))])

    def list_things(self):
        kind, items = self.pick(list(W.LISTS.items()))
        n = self.rng.randint(2, min(6, len(items)))
        chosen = self.rng.sample(items, n)
        ask = self.pick(["List {n} {k}.", "Name {n} {k}.", "Give me {n} {k}.", "Tell me {n} {k}, please.", "Can you name {n} {k}?"])
        number = self.pick([str(n), W.NUMBERS[n]])
        style = self.rng.random()
        if style < 0.5:
            return ask.format(n=number, k=kind), joined(chosen)
        if style < 0.75:
            return ask.format(n=number, k=kind) + self.pick([" One on each line.", " Use a list."]), "\n".join("- " + c for c in chosen)
        return ask.format(n=number, k=kind) + " Number them.", "\n".join(f"{i}. {c}" for i, c in enumerate(chosen, 1))

    def classify(self):
        r = self.rng
        kinds = r.sample(list(W.KINDS), r.randint(2, 4))
        kind = self.pick(kinds)
        noun = self.pick([w for w in W.KINDS[kind] if sum(w in W.KINDS[k] for k in kinds) == 1])
        options = ", ".join(kinds[:-1]) + " or " + kinds[-1]
        return self.pick([
            (f"What kind of word is {noun}: {options}?", kind),
            (f"Which group does the word belong to?\nGroups: {', '.join(kinds)}\nWord: {noun}", kind),
            (f"Choose one: {', '.join(kinds)}.\n{cap(noun)}", kind),
            (f"Label the word as {options}.\nWord: {noun}\nLabel:", kind),
            (f"Is {an(noun)} {an(kind)}?" if kind not in ("food", "colour") else f"Is {noun} {an(kind)}?", f"Yes, {noun} is {an(kind)}."),
        ])

    def classify_sentence(self):
        name, animal, place, thing = self.pick(W.NAMES), self.pick(W.ANIMALS), self.pick(W.PLACES), self.pick(THINGS)
        kind = self.rng.randrange(4)
        if kind == 0:
            sort = self.pick(["question", "statement", "command"])
            text = {"question": [f"Where is the {animal}?", f"Can {name} see the {thing}?", f"Is the {place} far?", f"Who took the {thing}?"],
                    "statement": [f"The {animal} is at the {place}.", f"{name} has a {thing}.", f"The {thing} is new."],
                    "command": [f"Bring me the {thing}.", f"Go to the {place}.", f"Look at the {animal}.", f"Put the {thing} down."]}[sort]
            ask = self.pick(["Is this a question, a statement or a command?\n", "Label it: question, statement or command.\n"])
            return ask + self.pick(text), sort
        if kind == 1:
            when = self.pick(["day", "night"])
            text = {"day": ["The sun is high.", f"{name} eats lunch.", "It is noon and it is hot.", "The children are at school."],
                    "night": ["The moon is out.", "The stars are bright.", f"{name} is asleep in bed.", f"The owl hoots over the dark {place}."]}
            return "Day or night?\n" + self.pick(text[when]), when
        if kind == 2:
            number = self.pick(["one", "many"])
            text = f"The {animal if number == 'one' else plural(animal)} went to the {place}."
            return self.pick(["Is it one or many?\n", "One or many?\n"]) + text, number
        noun, topic = self.pick([(animal, "animals"), (self.pick(W.FOODS), "food"), (self.pick(W.WEATHER), "weather"), (self.pick(W.TRANSPORT), "travel")])
        text = self.pick([f"{name} saw the {noun} at the {place}.", f"We talked about the {noun}.", f"Look, there is the {noun} again!"])
        return self.pick(["What is it about: animals, food, weather or travel?\n", "Pick a topic: animals, food, weather, travel.\n"]) + text, topic

    def rewrite(self):
        r, name, other = self.rng, *self.rng.sample(W.NAMES, 2)
        colour, colour2 = r.sample(W.COLOURS, 2)
        thing, animal, place = self.pick(THINGS), self.pick(W.ANIMALS), self.pick(W.PLACES)
        verb, past = self.pick([p for p in PAST if p[0] in "see find paint clean take make buy draw catch hide lose bring hold throw sell break wash open".split()])
        text = self.pick([f"{name} has a {colour} {thing}.", f"{name} put the {colour} {thing} near the {place}.", f"The {colour} {thing} belongs to {name}."])
        return self.pick([
            (self.pick([f"Change {name} to {other}.\n{text}", f"Write it again with {other} and not {name}: {text}"]), text.replace(name, other)),
            (f"Change {colour} to {colour2}.\n{text}", text.replace(colour, colour2)),
            (f"Say it in the past: I {verb} the {thing}.", f"I {past} the {thing}."),
            (f"What is the past of {verb}?", past),
            (f"Make it a question: The {animal} is at the {place}.", f"Is the {animal} at the {place}?"),
            (f"Make it a question: {name} can {verb} the {thing}.", f"Can {name} {verb} the {thing}?"),
            (f"Say it politely: {self.pick(['Give', 'Bring', 'Show'])} me the {thing}.", f"Could I have the {thing}, please?"),
            (f"Make it mean the opposite: {name} likes the {animal}.", f"{name} does not like the {animal}."),
            (f"Make it many: one {thing}", f"many {plural(thing)}"),
            (f"Put the words in order: {' '.join(r.sample([name, 'has', 'the', thing], 4))}", f"{name} has the {thing}."),
            (self.pick([f"Say this again: {text}", f"Repeat: {text}", f"Copy this sentence.\n{text}"]), text),
        ])

    def word(self):
        a, b = self.pick(OPPOSITES)
        if self.rng.random() < 0.5:
            a, b = b, a
        animal, sound = self.pick(SOUNDS)
        one, many = self.pick(PLURALS)
        noun = self.pick(THINGS + W.ANIMALS)
        return self.pick([
            (self.pick([f"What is the opposite of {a}?", f"Opposite of {a}:", f"Tell me the opposite of the word {a}."]), b),
            (self.pick([f"What sound does a {animal} make?", f"What does a {animal} say?"]), f"A {animal} says {sound}."),
            (f"What is the plural of {one}?", many), (f"What is the first letter of {noun}?", noun[0]),
            (f"How do you spell {noun}?", "-".join(noun)), (f"Which word is longer, {a} or {noun}?", max((a, noun), key=len)),
        ])

    def reading(self):
        r = self.rng
        names = r.sample(W.NAMES, r.randint(2, 3))
        things = r.sample(THINGS + W.ANIMALS, len(names))
        colours = r.sample(W.COLOURS, len(names))
        places = r.sample(W.PLACES, len(names))
        i = r.randrange(len(names))
        has = " ".join(f"{n} has a {c} {t}." for n, c, t in zip(names, colours, things))
        at = " ".join(f"{n} is at the {p}." for n, p in zip(names, places))
        age = [r.randint(2, 12) for _ in names]
        ages = " ".join(f"{n} is {a} years old." for n, a in zip(names, age))
        return self.pick([
            (f"{has} Who has the {things[i]}?", f"{names[i]} has the {things[i]}."),
            (f"{has} What does {names[i]} have?", f"{names[i]} has a {colours[i]} {things[i]}."),
            (f"{has} What colour is the {things[i]}?", f"The {things[i]} is {colours[i]}."),
            (f"{at} Where is {names[i]}?", f"{names[i]} is at the {places[i]}."),
            (f"{at} Who is at the {places[i]}?", f"{names[i]} is at the {places[i]}."),
            (f"{ages} How old is {names[i]}?", f"{names[i]} is {age[i]} years old."),
            (f"My name is {names[0]} and I like {plural(things[0])}. What is my name?", f"Your name is {names[0]}."),
            (f"My name is {names[0]} and I like {plural(things[0])}. What do I like?", f"You like {plural(things[0])}."),
        ])

    def to_json(self):
        name, animal, colour, place, thing = (self.pick(x) for x in (W.NAMES, W.ANIMALS, W.COLOURS, W.PLACES, THINGS))
        age, job = self.rng.randint(2, 90), self.pick(W.JOBS)
        text, fields = self.pick([
            (self.pick([f"{name} is {age} years old.", f"This is {name}, who is {age}.", f"My friend {name} is {age}."]), {"name": name, "age": age}),
            (self.pick([f"The {animal} is {colour}.", f"I saw a {colour} {animal}.", f"There was a {colour} {animal} in the {place}."]), {"animal": animal, "colour": colour}),
            (self.pick([f"{name} is a {job}.", f"{name} works as a {job}.", f"The {job} is called {name}."]), {"name": name, "job": job}),
            (self.pick([f"{name} lost a {thing} at the {place}.", f"{name} left the {thing} in the {place}."]), {"who": name, "thing": thing, "place": place}),
        ])
        keys = list(fields)
        ask = self.pick([f"Write JSON with the keys {joined(keys)}.\n", "Turn this into JSON.\n", f"JSON, keys {', '.join(keys)}: ", "As JSON: "])
        return ask + text, json.dumps(fields)

    def fact(self):
        ask, answer = self.pick(FACTS)
        return self.pick(["", "", "", "Please tell me. ", "I have a question. "]) + self.pick(ask), self.pick(answer)

    def talk(self):
        ask, answer = self.pick(TALK)
        return self.pick(ask), self.pick(answer)

    def howto(self):
        ask, answer = self.pick(HOWTO)
        return self.pick([f"How do I {ask[0]}?", f"How can I {ask[0]}?", f"Tell me how to {ask[0]}.", f"I want to {ask[0]}. What should I do?"]), self.pick(answer)

    def letter(self):
        to, who = self.pick(["Grandma", "Grandpa", "Mum", "Dad", "my friend " + self.pick(W.NAMES), "my teacher"]), self.pick(W.NAMES)
        thing, place = self.pick(W.TOYS + W.CLOTHES + W.FOODS), self.pick(W.PLACES)
        name = to.replace("my friend ", "").replace("my ", "")
        body = self.pick([f"Thank you for the {thing}. I took it to the {place} and I was very happy.", f"I went to the {place} today. I saw a {self.pick(W.ANIMALS)}. I hope you can come too.",
                          f"I miss you. We will meet at the {place} soon. I will bring a {thing}."])
        about = "saying thank you for the " + thing if body.startswith("Thank") else "about the " + place
        return f"Write a short letter to {to} {about}. My name is {who}.", f"Dear {cap(name)},\n{body}\nLove, {who}"

    def continue_story(self):
        while True:
            story = self.pick(self.stories)
            parts = re.findall(r'[^.!?]+[.!?]+"?\s*', story)
            cut = self.rng.randint(1, 3)
            if len(parts) >= cut + 3:
                rest = "".join(parts[cut:cut + self.rng.randint(3, 14)]).strip()
                if len(rest) < 1100:
                    ask = self.pick(["Continue the story.\n", "Continue: ", "Go on with this story: ", "What happens next?\n", "Please finish this story.\n", "Write what happens next.\n"])
                    return ask + "".join(parts[:cut]).strip(), rest

    def tell_story(self):
        nouns = set(W.ANIMALS + THINGS + W.PLACES + W.FOODS + W.JOBS)
        while True:
            story = self.pick(self.stories)
            found = Counter(word for word in re.findall(r"[a-z]+", story) if word in nouns)
            name = re.search(r"named ([A-Z][a-z]+)", story)
            if len(story) > 1100 or not found:
                continue
            top = [word for word, _ in found.most_common(3)]
            asks = [f"Tell me a story about {an(top[0])}.", f"Write a short story about {an(top[0])}.", f"Please tell a story with {an(top[0])} in it.",
                    f"Use these words in a story: {', '.join(top)}.", "Tell me a story.", f"I want a story about {an(top[0])}."]
            if name:
                asks += [f"Tell me a story about {name.group(1)}.", f"Write a story about {name.group(1)} and {an(top[0])}."]
            return self.pick(asks), story

    def who(self):
        while True:
            _, parts = self.sentences()
            text = "".join(parts[:3]).strip()
            name = re.search(r"(?:named|called) ([A-Z][a-z]+)", text)
            if not name or len(text) > 320:
                continue
            return self.pick([f"{text}\nWho is the story about?", f"Who is in this story?\n{text}", f"Find the name.\n{text}"]), \
                f"The story is about {name.group(1)}."

    def change_name(self):
        while True:
            _, parts = self.sentences()
            text = "".join(parts[:2]).strip()
            name = re.search(r"(?:named|called) ([A-Z][a-z]+)", text)
            if name and len(text) < 260:
                other = self.pick(W.NAMES)
                return f"Change the name {name.group(1)} to {other}.\n{text}", re.sub(rf"\b{name.group(1)}\b", other, text)

    def missing(self):
        while True:
            _, parts = self.sentences()
            if not parts:
                continue
            text = self.pick(parts).strip()
            nouns = [w for w in set(re.findall(r"[a-z]+", text)) & set(W.ANIMALS + THINGS + W.PLACES + W.COLOURS + W.FOODS + W.FRUITS)]
            if nouns and len(text) < 160:
                word = self.pick(sorted(nouns))
                kind = self.rng.random()
                if kind < 0.5:
                    return f"Which word is in the sentence: {', '.join(self.rng.sample([word, *self.rng.sample([w for w in THINGS + W.ANIMALS if w not in text], 2)], 3))}?\n{text}", word
                return f"Fill in the missing word.\n{re.sub(rf'{chr(92)}b{word}{chr(92)}b', '___', text, count=1)}", word


TASKS = {"continue_story": 15, "tell_story": 18, "reading": 13, "rewrite": 10, "classify": 6, "classify_sentence": 7, "to_json": 5,
         "list_things": 6, "count": 3, "number": 4, "calendar": 2, "word": 4, "fact": 6, "talk": 6, "howto": 2, "letter": 3, "who": 3,
         "change_name": 3, "missing": 4}
SYSTEMS = {"reading": "You answer questions about a text.", "fact": "You answer simple questions.", "tell_story": "You tell stories to children.",
           "talk": "You are a friendly helper.", "classify": "You sort words into groups.", "to_json": "You write JSON.", "count": "You can count."}


def write(stories, count, seed):
    rng = random.Random(seed)
    writer, names, weights = Writer(rng, stories), list(TASKS), list(TASKS.values())
    seen, tries = Counter(), 0
    while tries < count:
        tries += 1
        tasks = rng.choices(names, weights, k=rng.choice([1, 1, 1, 1, 2, 3]))
        if "tell_story" in tasks or "continue_story" in tasks:
            tasks = tasks[:1]
        messages = []
        if tasks[0] in SYSTEMS and rng.random() < 0.06:
            messages.append({"role": "system", "content": SYSTEMS[tasks[0]]})
        if len(tasks) > 1 and rng.random() < 0.4:
            tasks[0] = "talk"
        for task in tasks:
            ask, answer = getattr(writer, task)()
            messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        mark = json.dumps(messages)
        # A short fixed fact may come back a few times: it has few wordings. Nothing else may.
        seen[mark] += 1
        if seen[mark] <= (6 if tasks[0] in ("fact", "talk", "howto", "count", "word", "calendar") else 1):
            yield {"task": tasks[0], "messages": messages}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    tales = [row["text"] for row in map(json.loads, open(options.corpus / "train.jsonl", encoding="utf-8")) if row["source"] != "old"]
    done = Counter()
    with open(options.out, "w", encoding="utf-8") as file:
        for row in write(tales, options.rows, options.seed):
            done[row["task"]] += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(sum(done.values()), "rows", dict(done))
