"""Writes feelings.jsonl: one or two plain sentences and the feeling they tell of; refuses sentences that name the feeling."""
import random
import re

from common import write

rng = random.Random(13)
PERSON = "my brother|my sister|my friend|my cousin|a boy at school|a girl next door|our neighbour|my uncle|someone".split("|")
THING = "kite|bike|drawing|sandcastle|book|puzzle|model boat|new scarf|clay pot|card house|snowman|toy train|garden bed|paper crown".split("|")
PLACE = "school|the park|the shop|the station|the library|the beach|my aunt's house|the market|the river".split("|")
PET = "dog|cat|rabbit|hamster|bird|pony|goldfish|turtle".split("|")
WHEN = "today|this morning|yesterday|last night|on Monday|after lunch|before school|at the weekend|just now|this afternoon".split("|")

EVENTS = {
    "happy": """{P} gave me a new {t} {w}|we ate cake in the garden {w}|the sun came out and we ran to {l}|my best friend is coming to stay|we danced in the kitchen {w}|I got a letter from grandma {w}|the {p} licked my face and I laughed
|we sang songs all the way to {l}|there was a surprise party for me {w}|I found the {t} that I had lost {w}|we are going to {l} and I can not wait|dad is home again after a long trip|the baby smiled at me {w}|it is the first day of the holidays
|we made pancakes together {w}|I jumped in all the puddles {w}|the whole class sang for me {w}|I hugged the {p} and it wagged its tail|I am laughing so hard that my belly hurts|we had ice cream at {l}|my friends and I played all day at {l}
|I woke up and saw the first snow|the clown made us all laugh {w}|what a lovely day we had at {l}|mum tickled me until I giggled|the {p} had babies {w} and they are so sweet""",
    "sad": """my {p} died {w}|my best friend moved away {w}|nobody came to play with me {w}|I lost the {t} that grandpa made for me|I sat alone at lunch {w}|we had to say goodbye to {P}|I miss my mum so much|tears ran down my face {w}|the old tree by {l} was cut down
|my {t} fell in the river and is gone|no one remembered my birthday|grandma is very ill|I cried in my room {w}|the {p} ran away and did not come back|my friends went to {l} without me|it rains and I have no one to talk to|we have to leave our house for ever
|dad could not come to see me {w}|my {t} can not be mended|I dropped my ice cream and there was no more|I looked at the empty bed of our {p}|{P} does not want to be my friend any more|the holidays are over and everyone is gone|my heart feels heavy
|I wait at the window but he does not come|the little bird fell from the nest and did not move""",
    "angry": """{P} broke my {t} on purpose|{P} took my {t} and will not give it back|{P} pushed me in the line {w}|that is not fair, it was my turn|stop shouting at me|{P} lied about me {w}|I shut the door with a bang {w}|I told you not to touch my {t}|{P} keeps kicking my chair
|they blamed me for something that I did not do|{P} tore up my {t}|I stamped my feet and yelled {w}|give me back my {t} right now|{P} cheated in the game {w}|how dare you read my letters|my face went red and I threw the {t} on the floor|{P} ate my lunch {w}
|I have told you ten times to leave me alone|they laughed at me and I wanted to scream|{P} splashed mud on my coat {w}|who spilled paint on my {t}|you never let me choose|{P} called me a bad name {w}|I hit the table with my fist {w}|you promised, and you broke your word
|{P} jumped the line at {l}""",
    "afraid": """there is a noise under my bed|something moved in the dark near {l}|I heard steps behind me {w}|the big dog growled at me {w}|I hid under the blanket {w}|the lights went out and I could not see|my hands shake when I stand on the high wall|please do not leave me here alone
|the storm is so loud that I can not sleep|I woke up from a bad dream {w}|I do not dare to go into the cellar|a spider crawled on my arm {w}|I got lost at {l} and could not find mum|a shadow crept over the wall {w}|I held my breath and did not move
|what if the monster comes back|the boat rocked and water came in|my knees shook when I saw the snake|I do not want to go to the dentist|the thunder made me jump {w}|I ran home as fast as I could and locked the door|a stranger followed us near {l}
|the bridge swings and it is a long way down|someone is knocking and I am alone at home|my heart beat fast in the dark hall|I can not look down from up here""",
    "proud": """I tied my shoes all by myself {w}|I won first prize for my {t}|I can ride a bike now|I read a whole book alone|the teacher showed my {t} to the whole class {w}|I swam to the other side {w}|I told the truth even though it was hard|I built the {t} without any help|our team won the cup {w}
|I learned to count to one hundred|I taught {P} how to swim|look at the {t} that I made|I saved my own money and bought a {t}|I climbed to the very top {w}|everyone clapped when I played my song|I baked the bread all on my own|I did not give up and now I can do it
|they chose me as captain of the team|I helped an old man across the road {w}|my drawing hangs on the wall at school|I can write my whole name|I got every answer right {w}|I trained the {p} to sit and to roll over|mum said that I did a great job|I fixed my bike with my own tools
|I was brave and got the cat down from the tree""",
}
BEFORE = ["", "", "", "", "You know, ", "Mum, ", "Oh, ", "Dear diary, "]
GLAD = ["", "", "", "", "Guess what, ", "Listen, ", "Mum, ", "Hey, ", "Dear diary, "]
AFTER = ["", "", "", "", "", "", "I wrote it down.", "I still think about it.", "I wanted to tell you.", "I will tell you more later.", "It is all that I can think about.", "Now you know."]
NAMED = re.compile(r"\b(happy|sad|angry|afraid|proud|scared|mad|fear|joy)\b", re.I)


def rows():
    for label, events in EVENTS.items():
        for event in events.replace("\n", "").split("|"):
            made = set()
            for _ in range(60):
                text = (event + ". " + rng.choice(AFTER)).format(P=rng.choice(PERSON), t=rng.choice(THING), l=rng.choice(PLACE), p=rng.choice(PET), w=rng.choice(WHEN))
                start = rng.choice(GLAD if label in ("happy", "proud") else BEFORE)
                text = (start + (text if start == "" or re.match(r"I\b", text) else text[0].lower() + text[1:])).strip()
                text = text[0].upper() + text[1:]
                text = re.sub(r"^(Stop|Give|How dare|Look)([^.]*)\.", r"\1\2!", text)
                text = re.sub(r"^((?:\w+ )?(?:what if|who spilled|What if|Who spilled|How dare)[^.!]*)[.!]", r"\1?", text)
                if NAMED.search(text):
                    raise SystemExit(f"feelings: {text!r} names its feeling")
                made.add(text)
                if len(made) == 8:
                    break
            for text in sorted(made):
                yield {"text": text, "label": label}


if __name__ == "__main__":
    write("feelings", rows(), 13, 1000)
