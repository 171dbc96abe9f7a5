"""Writes night-train.jsonl: short stories told in the present tense aboard one night train; refuses two stories with the same traveller and turn."""
import random

from common import write

rng = random.Random(16)
# Traveller with what they carry, and the pronouns.
WHO = """An old man with a cello|he|his
A girl with a jar of fireflies|she|her
A boy with one red shoe|he|his
A woman with a sleeping owl|she|her
A baker with flour on his sleeves|he|his
A sailor with a wooden box|he|his
A nurse with a basket of pears|she|her
A clockmaker with a silent clock|she|her
A boy with a goldfish in a bowl|he|his
A tall lady in a green coat|she|her
A postman with one last letter|he|his
A girl with a paper crown|she|her
A magician without a hat|he|his
A farmer with a small white goat|he|his
A teacher with a bag of stones|she|her
A painter with blue hands|she|her
A boy with a broken kite|he|his
A grandmother with two umbrellas|she|her
A man with a map of nowhere|he|his
A girl with a drum under her arm|she|her
A gardener with a tree in a pot|he|his
A singer with a sore throat|she|her
A soldier without boots|he|his
A child with a lantern made of tin|she|her
A cook with a pot of warm soup|he|his
A widow with a yellow bird|she|her
A thief with kind eyes|he|his
A boy with a bag full of snow|he|his
A doctor with a torn coat|she|her
A fisherman with an empty net|he|his
A dancer with a bandaged foot|she|her
A girl with a key on a string|she|her
A tailor with a coat for a giant|he|his
A beekeeper with a humming hat|she|her""".split("\n")
LEAVE = """The night train leaves at nine.|At nine the night train pulls out of the city.|The whistle blows, and the night train begins to move.|It is late when the night train leaves the station.|The lamps go on one by one, and the night train sets off.
|Steam climbs to the stars as the night train leaves.|The last door shuts, and the night train rolls into the dark.|Slowly, as if it does not want to wake the town, the night train starts.""".replace("\n", "").split("|")
SEAT = """takes the seat by the window|sits down in the last carriage|finds a place beside the stove|stands in the corridor and looks out|sits down and does not speak|chooses the seat that no one ever takes|leans against the cold glass|sits on a suitcase near the door
|takes the bunk under the lamp""".replace("\n", "").split("|")
VIEW = """Fields slide by like dark water.|The moon runs along beside the rails.|A village passes, and all its windows are asleep.|Snow begins to fall on the hills.|Rain writes long lines on the glass.|Far away a dog barks at the train and is gone.
|The bridge hums, and the river shines below.|Pine trees stand close to the rails and listen.|A single lamp burns on a farm, and then it is behind us.|Fog lies on the marsh like a blanket.|Stars hang so low that they touch the roofs.|The tunnel takes the light, and then gives it back.
|A white horse runs with us for a mile.|The sea is on the left, black and slow.""".replace("\n", "").split("|")
GUARD = """The guard comes by and asks for tickets.|The guard walks past with his lamp.|Old Bruno, the guard, looks in.|The guard stops and pours tea from a can.|The guard checks his watch and nods.|Old Bruno, the guard, sits down for a moment.""".replace("\n", "").split("|")
# What the guard says, and what the traveller may answer.
TALK = {
    '"Where to?" he asks.': ['"To the end of the line," says {n}.', '"Home," says {n}.', '"I do not know yet," says {n}.', '"As far as my money goes," says {n}.', '"I want to see the sea once," says {n}.'],
    '"You are a long way from home," he says.': ['"Not any more," says {n}.', '"I am on my way back," says {n}.', '"Home is where I am going," says {n}.'],
    '"There is no hurry on this train," he says.': ['"Somebody is waiting for me," says {n}, "I hope."', '"Good," says {n}. "I have hurried enough."', '"The morning will not wait," says {n}.'],
    '"I have seen you before," he says, "in another winter."': ['"I was someone else then," says {n}.', '"That was my brother," says {n}.', '"And you gave me tea," says {n}.'],
    '"Keep your feet warm," he says. "The pass is cold."': ['"I have been colder," says {n}.', '"Thank you," says {n}. "You are kind."', '"How far is the pass?" asks {n}.'],
    '"Nobody gets lost on this line," he says.': ['"That is why I took it," says {n}.', '"I am good at getting lost," says {n}.', '"I would like to believe that," says {n}.'],
    '"We stop only where someone is waiting," he says.': ['"Then it will be a long night," says {n}.', '"I hope that someone is," says {n}.', '"She said that she would wait," says {n}.'],
    '"Drink this," he says. "It helps with long roads."': ['"It tastes of apples," says {n}.', '"How much is it?" asks {n}, and the guard only smiles.', '"I had forgotten what warm is," says {n}.'],
    '"What is it that you carry?" he asks.': ['"It is a promise," says {n}. "I made it long ago."', '"I am bringing it back," says {n}.', '"It is not mine," says {n}. "I only keep it."', '"All that I have," says {n}.'],
}
TURN = """Then the light goes out, and for a while there is only breathing.|Then the train stops where there is no station.|In the next seat a baby wakes up and laughs.|A moth comes out of the lamp and settles on {h} sleeve.|Somewhere a voice begins to sing, and the whole carriage joins in.
|The wheels change their song, and {s} knows that song.|A stranger across the aisle takes out bread and shares it with all.|{S} opens {h} hand, and there is a ticket that {s} never bought.|The window fills with birds, all flying the same way.
|Someone has left a letter on the seat, and it has {h} name on it.|An old dog lies down on {h} feet as if they were friends.|The stove goes cold, so {s} gives {h} blanket to a child.|{S} falls asleep and dreams of a blue door.|All at once the rails are covered with leaves, gold in the lamplight.
|The clock over the door begins to run backwards.|Two strangers start a game of cards and deal {O} in.|A girl in the corridor asks {O} for a story, and {s} tells it.""".replace("\n", "").split("|")
AFTER = """Nobody asks why.|It is the kind of thing that happens on this train.|After that, no one feels alone.|For the first time in days, {s} is not afraid.|Even the rain seems to listen.|{S} thinks of home, and it does not hurt so much.|It lasts a minute, or an hour.|The guard sees it and says nothing.
|{S} laughs, quietly, so as not to wake the others.|The carriage grows warm.""".replace("\n", "").split("|")
STOP = """At dawn the train stops by a white fence.|At the small station of Alder the train slows down.|Morning comes up pink behind the hills.|At six the train reaches the sea.|The first light finds the train on a long bridge.|At the last stop a bell is ringing.|When the sun comes, the train is standing in an orchard.
|At Miller's Halt the doors open by themselves.""".replace("\n", "").split("|")
LAST = """{S} steps down, and someone on the platform waves.|{S} gets off and does not look back.|{S} stays in {h} seat, because now {s} knows where to go.|{S} leaves one thing on the seat for the next traveller.|On the platform a small boy is waiting, and {s} starts to run.
|{S} thanks the guard, who has already forgotten {h} face.|{S} walks into the grass, and the grass is full of light.|{S} puts {h} ticket into the wind and lets go.|There is no one there, and still {s} smiles.|{S} asks when the next night train leaves.""".replace("\n", "").split("|")
CLOSE = """The night train waits a moment, and then it goes on.|Tonight the night train will leave again at nine.|Behind {O} the whistle blows.|And the night train, empty now, turns round for home.|The rails sing for a while, and then they are still.|Nobody sees where the night train sleeps by day.""".replace("\n", "").split("|")
TIME = ["After a while", "At midnight", "Near the border", "Past the last village", "Around one o'clock", "Long after midnight", "Just before the tunnel"]


def low(text):
    return text if text.startswith(('"', "Old Bruno")) else text[0].lower() + text[1:]


def story(who, turn):
    name, s, h = who.split("|")
    pick, shape = rng.choice, rng.randrange(4)
    short = "the " + " ".join(name.split()[1:2] if name.split()[1] not in ("old", "tall") else name.split()[1:3])
    seat, views = pick(SEAT), rng.sample(VIEW, 2)
    says = pick(list(TALK))
    talk = f"{says} {pick(TALK[says])}"
    guard = f"{pick(GUARD)} {talk}"
    parts = {
        0: [f"{pick(LEAVE)} {name} {seat}. {views[0]}", guard, f"{views[1]} {turn} {pick(AFTER)}", f"{pick(STOP)} {pick(LAST)} {pick(CLOSE)}"],
        1: [f"{name} {seat}. {pick(LEAVE)}", f"{views[0]} {pick(TIME)} {low(pick(GUARD))} {talk}", f"{turn} {pick(AFTER)}", f"{pick(STOP)} {pick(LAST)}"],
        2: [f"{pick(LEAVE)} {views[0]} In the third carriage {low(name)} {seat}.", f"{turn} {pick(AFTER)} {views[1]}", guard, f"{pick(STOP)} {pick(LAST)} {pick(CLOSE)}"],
        3: [f"{views[0]} {name} {seat}, and the night train hurries on.", f"{pick(TIME)} it is so quiet that {short} can hear the stove. {turn}", f"{pick(AFTER)} {guard}", f"{pick(LAST)} {pick(CLOSE)}"],
    }[shape]
    return "\n\n".join(parts).format(n=short, s=s, S=s.capitalize(), h=h, O="him" if s == "he" else "her")


def rows():
    made = [(who, turn) for who in WHO for turn in TURN]
    rng.shuffle(made)
    for who, turn in made:
        yield {"text": story(who, turn)}


if __name__ == "__main__":
    write("night-train", rows(), 16, 400)
