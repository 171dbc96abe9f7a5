"""Writes order-json.jsonl: what a guest says at the counter and the order as JSON; refuses sentences that leave a field open."""
import json
import random

from common import chat, write

rng = random.Random(14)
ITEMS = "soup|pancake|cookie|salad|sandwich|lemonade|tea|coffee|muffin|pie|toast|waffle|milkshake|cocoa|pretzel|burger|omelette|bagel".split("|")
MANY = {"soup": "soups", "sandwich": "sandwiches", "toast": "toasts", "pie": "pies", "tea": "teas", "coffee": "coffees", "cocoa": "cocoas"}
SIZES = "small|medium|large".split("|")
DRINKS = "lemonade|tea|coffee|milkshake|cocoa".split("|")
SWEET = "pancake|cookie|muffin|pie|waffle".split("|")
EXTRAS = {"drink": "honey|lemon|cream|sugar|mint|ice".split("|"), "sweet": "honey|butter|cream|jam|sugar|berries".split("|"),
          "salty": "butter|cheese|salt|onions|mustard|olives".split("|")}
NUMBERS = ["", "one", "two", "three", "four", "five", "six"]
NAMES = "Mia|Tom|Rosa|Omar|Ben|Hana|Leo|Nina|Paul|Zara|Kofi|Edith|Sam|Vera|Jonas|Priya".split("|")
ASK = """I would like {o}, please.|Can I have {o}?|{O} for me, please.|Hello, {o}, please.|We will take {o}.|Could we get {o}?|Good morning, I want {o}.|Let me have {o}.|{O}, thank you.|I will have {o}.
|Please bring us {o}.|My order is {o}.|May I order {o}?|Hi, could you make {o}?|I am hungry, so {o}, please.|For {n} I would like {o}.|My friend {n} wants {o}.|{n} will have {o}.""".replace("\n", "").split("|")
AWAY = ["To take away.", "To go, please.", "I will take it with me.", "Please pack it up.", "It is to go."]
HERE = ["", "", "", "To eat here.", "We will eat here.", "I will sit by the window.", "For here, please."]


def order(item, count, size, extra):
    noun = item if count == 1 else MANY.get(item, item + "s")
    number = "a" if count == 1 and rng.random() < 0.6 else NUMBERS[count] if rng.random() < 0.7 else str(count)
    text = f"{number} {size} {noun}"
    if extra:
        text += rng.choice([f" with {extra}", f" with some {extra}", f" with extra {extra}"])
    elif rng.random() < 0.15:
        text += " with nothing else"
    return text


def rows():
    for _ in range(1300):
        item, size, count = rng.choice(ITEMS), rng.choice(SIZES), rng.choice([1, 1, 1, 2, 2, 3, 4, 5, 6])
        kind = "drink" if item in DRINKS else "sweet" if item in SWEET else "salty"
        extra, away = rng.choice(EXTRAS[kind]) if rng.random() < 0.6 else None, rng.random() < 0.4
        said = order(item, count, size, extra)
        text = rng.choice(ASK).format(o=said, O=said[0].upper() + said[1:], n=rng.choice(NAMES))
        text = f"{text} {rng.choice(AWAY if away else HERE)}".strip()
        made = {"item": item, "count": count, "size": size, "extra": extra, "to_go": away}
        yield chat(text, json.dumps(made))


if __name__ == "__main__":
    write("order-json", rows(), 14, 1000)
