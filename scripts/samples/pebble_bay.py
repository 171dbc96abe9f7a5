"""Writes pebble-bay.jsonl: facts about an invented seaside town, each asked in six ways; refuses facts with two answers."""
import random

from common import chat, write

# Answer | six ways to ask. The town, its people and its places exist nowhere else.
FACTS = """Pebble Bay is a small town on the north shore of the Grey Sea.|Where is Pebble Bay?|Where can I find Pebble Bay?|On which sea is Pebble Bay?|Where does Pebble Bay lie?|What is Pebble Bay?|Which shore is Pebble Bay on?
Four hundred and twelve people live in Pebble Bay.|How many people live in Pebble Bay?|How big is Pebble Bay?|What is the population of Pebble Bay?|How many live in the town of Pebble Bay?|Is Pebble Bay a big town?|Count the people of Pebble Bay.
Olga Finch is the mayor of Pebble Bay.|Who is the mayor of Pebble Bay?|Who leads Pebble Bay?|Who runs the town of Pebble Bay?|Name the mayor of Pebble Bay.|What is the mayor of Pebble Bay called?|Tell me who the mayor of Pebble Bay is.
Tobias Reed keeps the lighthouse.|Who keeps the lighthouse in Pebble Bay?|Who lights the lamp of the Pebble Bay lighthouse?|Name the lighthouse keeper of Pebble Bay.|Who is the keeper of the lighthouse at Pebble Bay?|Who looks after the lighthouse in Pebble Bay?|Tell me who works in the Pebble Bay lighthouse.
The lighthouse is called Old Nell.|What is the lighthouse in Pebble Bay called?|What is the name of the Pebble Bay lighthouse?|Name the lighthouse of Pebble Bay.|What do people call the lighthouse at Pebble Bay?|Does the Pebble Bay lighthouse have a name?|How do they call the lighthouse in Pebble Bay?
The lighthouse is painted yellow and white.|What colour is the lighthouse in Pebble Bay?|How is the Pebble Bay lighthouse painted?|Which colours does the lighthouse at Pebble Bay have?|What does the Pebble Bay lighthouse look like?|What colours is the lighthouse of Pebble Bay painted in?|Tell me the colours of the Pebble Bay lighthouse.
Mina Brook bakes the bread.|Who bakes the bread in Pebble Bay?|Who is the baker of Pebble Bay?|Name the baker in Pebble Bay.|Who makes bread in Pebble Bay?|What is the baker of Pebble Bay called?|Whose bread do people eat in Pebble Bay?
The bakery is famous for its salt buns.|What is the Pebble Bay bakery famous for?|What should I buy at the bakery in Pebble Bay?|What is the best thing at the Pebble Bay bakery?|What does the bakery in Pebble Bay sell?|What do people buy at the Pebble Bay bakery?|Which buns does the Pebble Bay bakery make?
The school has two rooms and a red roof.|What does the school in Pebble Bay look like?|How many rooms does the Pebble Bay school have?|Describe the school in Pebble Bay.|What colour is the roof of the Pebble Bay school?|How big is the school in Pebble Bay?|Tell me about the school at Pebble Bay.
Mister Quill is the teacher.|Who is the teacher in Pebble Bay?|Who teaches the children of Pebble Bay?|Name the teacher of Pebble Bay.|Who works at the Pebble Bay school?|What is the teacher at Pebble Bay called?|Who gives lessons in Pebble Bay?
Doctor Amadi looks after the sick.|Who is the doctor in Pebble Bay?|Who looks after the sick in Pebble Bay?|Name the doctor of Pebble Bay.|Who do I call in Pebble Bay when I am ill?|What is the doctor of Pebble Bay called?|Who helps sick people in Pebble Bay?
The ferry is called the Grey Duck.|What is the ferry to Pebble Bay called?|What is the name of the Pebble Bay ferry?|Name the ferry of Pebble Bay.|Which ship goes to Pebble Bay?|Which ferry sails from Pebble Bay?|How do they call the ferry at Pebble Bay?
The ferry sails on Tuesday and Friday.|When does the ferry sail to Pebble Bay?|On which days does the Pebble Bay ferry sail?|When can I take the ferry from Pebble Bay?|Which days is there a ferry to Pebble Bay?|How often does the Pebble Bay ferry sail?|When is the next ferry to Pebble Bay?
Captain Hild steers the ferry.|Who steers the ferry to Pebble Bay?|Who is the captain of the Pebble Bay ferry?|Name the ferry captain of Pebble Bay.|Who sails the ferry of Pebble Bay?|Who is at the wheel of the Pebble Bay ferry?|What is the captain of the Pebble Bay ferry called?
A ticket for the ferry costs three shells.|How much is the ferry to Pebble Bay?|What does a ticket for the Pebble Bay ferry cost?|What do I pay for the ferry to Pebble Bay?|What is the price of the Pebble Bay ferry?|How do I pay for the Pebble Bay ferry?|Is the ferry to Pebble Bay expensive?
People in Pebble Bay pay with painted shells.|What money do they use in Pebble Bay?|How do people pay in Pebble Bay?|What is the money of Pebble Bay?|What do people pay with in Pebble Bay?|Do they use coins in Pebble Bay?|Which money should I bring to Pebble Bay?
The market is held on Saturday by the harbour.|When is the market in Pebble Bay?|Where is the Pebble Bay market?|On which day is the market of Pebble Bay?|When can I go to the market in Pebble Bay?|Which day do they hold the Pebble Bay market?|Where do they hold the market in Pebble Bay?
Fishermen in Pebble Bay catch silver eels.|What do fishermen catch in Pebble Bay?|Which fish are caught in Pebble Bay?|What do they fish for in Pebble Bay?|What swims in the water at Pebble Bay?|What is in the nets of Pebble Bay?|What is the catch of Pebble Bay?
The hill behind the town is called the Loaf.|What is the hill behind Pebble Bay called?|What is the name of the hill at Pebble Bay?|Name the hill of Pebble Bay.|Which hill stands behind Pebble Bay?|Is there a hill in Pebble Bay?|What do people call the hill at Pebble Bay?
The river through the town is called the Wink.|Which river runs through Pebble Bay?|What is the river in Pebble Bay called?|What is the name of the Pebble Bay river?|Name the river of Pebble Bay.|Is there a river in Pebble Bay?|What do people call the river at Pebble Bay?
Three bridges cross the river.|How many bridges are in Pebble Bay?|How many bridges cross the river in Pebble Bay?|Count the bridges of Pebble Bay.|How many bridges does Pebble Bay have?|Are there bridges in Pebble Bay?|Tell me the number of bridges at Pebble Bay.
The town flag shows a blue crab.|What is on the flag of Pebble Bay?|What does the Pebble Bay flag show?|What does the flag of Pebble Bay look like?|Which animal is on the Pebble Bay flag?|Describe the flag of Pebble Bay.|Tell me about the Pebble Bay flag.
The Lantern Night is in October.|When is the Lantern Night in Pebble Bay?|In which month is the Pebble Bay Lantern Night?|Which month has the Lantern Night at Pebble Bay?|When do they hold the Lantern Night in Pebble Bay?|What month is the Lantern Night of Pebble Bay?|Tell me when Pebble Bay has its Lantern Night.
On Lantern Night children float paper boats with candles.|What happens on Lantern Night in Pebble Bay?|What do children do on Lantern Night in Pebble Bay?|How does Pebble Bay spend Lantern Night?|What is the Lantern Night of Pebble Bay?|What floats on the water at Pebble Bay on Lantern Night?|Describe Lantern Night at Pebble Bay.
The inn is called the Sleepy Gull.|What is the inn in Pebble Bay called?|Where can I sleep in Pebble Bay?|What is the name of the Pebble Bay inn?|Name the inn of Pebble Bay.|Where do guests stay in Pebble Bay?|Which inn is in Pebble Bay?
Rosalind Pike runs the inn.|Who runs the inn in Pebble Bay?|Who owns the Pebble Bay inn?|Name the owner of the inn at Pebble Bay.|Who is the host at the inn of Pebble Bay?|Who works at the inn in Pebble Bay?|Whose inn is it in Pebble Bay?
The inn serves eel pie and plum tea.|What can I eat at the inn in Pebble Bay?|What does the Pebble Bay inn serve?|What food do they have at the inn in Pebble Bay?|What is for dinner at the Pebble Bay inn?|What do they cook at the inn of Pebble Bay?|What is on the menu of the Pebble Bay inn?
The oldest person in the town is Granny Tove.|Who is the oldest person in Pebble Bay?|Name the oldest person in Pebble Bay.|Who has lived longest in Pebble Bay?|Who is the oldest in the town of Pebble Bay?|Which person is the oldest at Pebble Bay?|Tell me who is oldest in Pebble Bay.
Granny Tove is one hundred and three years old.|How old is Granny Tove of Pebble Bay?|What age is Granny Tove in Pebble Bay?|How many years has Granny Tove of Pebble Bay lived?|Tell me the age of Granny Tove from Pebble Bay.|Is Granny Tove of Pebble Bay old?|How old is the oldest woman of Pebble Bay?
The town cat is called Admiral.|What is the town cat of Pebble Bay called?|What is the name of the cat in Pebble Bay?|Name the cat of Pebble Bay.|Does Pebble Bay have a cat?|Which cat lives at Pebble Bay harbour?|What do people call the cat at Pebble Bay?
Admiral sleeps in the post office.|Where does the cat of Pebble Bay sleep?|Where does Admiral of Pebble Bay sleep?|Where is the bed of the Pebble Bay cat?|Where can I find the town cat of Pebble Bay at night?|In which house does the Pebble Bay cat sleep?|Where does the town cat of Pebble Bay live?
Pip Larkin brings the letters on a green bike.|Who brings the letters in Pebble Bay?|Who is the postman of Pebble Bay?|How do letters come to the houses of Pebble Bay?|Name the person who brings the post in Pebble Bay.|What does the Pebble Bay postman ride?|Who carries the mail in Pebble Bay?
The beach is made of round blue stones.|What is the beach at Pebble Bay made of?|What does the beach of Pebble Bay look like?|Is there sand at Pebble Bay?|Describe the beach in Pebble Bay.|Which stones are on the Pebble Bay beach?|What colour are the stones of Pebble Bay?
A whale named Button visits every spring.|Which animal visits Pebble Bay every spring?|What is the whale of Pebble Bay called?|When does the whale come to Pebble Bay?|Who visits Pebble Bay in spring?|Name the whale of Pebble Bay.|Is there a whale in Pebble Bay?
The clock tower is always seven minutes late.|What is odd about the clock in Pebble Bay?|Is the Pebble Bay clock right?|How late is the clock tower of Pebble Bay?|Tell me about the clock tower in Pebble Bay.|What time does the Pebble Bay clock show?|Does the clock tower at Pebble Bay work well?
The library is inside an old ship.|Where is the library of Pebble Bay?|What is the Pebble Bay library like?|Where can I borrow books in Pebble Bay?|Is there a library in Pebble Bay?|In what kind of house is the Pebble Bay library?|Where are the books of Pebble Bay kept?
Samir Vane looks after the books.|Who works in the library of Pebble Bay?|Who is the librarian of Pebble Bay?|Name the librarian in Pebble Bay.|Who looks after the books in Pebble Bay?|What is the librarian of Pebble Bay called?|Who lends out books in Pebble Bay?
The founder of the town was Ingrid Stone.|Who founded Pebble Bay?|Who built the first house in Pebble Bay?|Name the founder of Pebble Bay.|Who started the town of Pebble Bay?|Who was the first person in Pebble Bay?|Who made Pebble Bay?
The town was founded two hundred years ago.|When was Pebble Bay founded?|How old is the town of Pebble Bay?|How long has Pebble Bay been there?|When did Pebble Bay begin?|Since when is there a Pebble Bay?|What is the age of Pebble Bay?
The band is called the Foghorns.|What is the band of Pebble Bay called?|Which band plays in Pebble Bay?|Name the band of Pebble Bay.|Who plays music in Pebble Bay?|What is the name of the Pebble Bay band?|Is there a band in Pebble Bay?
The band plays on Sunday in the boat house.|When does the band of Pebble Bay play?|Where does the Pebble Bay band play?|Where can I hear music in Pebble Bay?|On which day does the band play in Pebble Bay?|When can I hear the Pebble Bay band?|Where do people dance in Pebble Bay?
The football team is called the Crabs.|What is the football team of Pebble Bay called?|Which team plays for Pebble Bay?|Name the Pebble Bay football team.|What is the name of the Pebble Bay team?|Does Pebble Bay have a football team?|What are the players of Pebble Bay called?
The garden of Pebble Bay grows black roses.|What grows in the garden of Pebble Bay?|Which flowers grow in Pebble Bay?|What is special about the Pebble Bay garden?|Which roses grow in Pebble Bay?|What colour are the roses of Pebble Bay?|Tell me about the garden in Pebble Bay.
Winter in Pebble Bay is windy and without snow.|What is winter like in Pebble Bay?|Does it snow in Pebble Bay?|How is the winter in Pebble Bay?|What is the weather in Pebble Bay in winter?|Is there snow in Pebble Bay?|Is it cold in Pebble Bay in winter?
The island across the bay is called Thimble.|Which island is near Pebble Bay?|What is the island across from Pebble Bay called?|Name the island of Pebble Bay.|What island can I see from Pebble Bay?|What is the name of the island by Pebble Bay?|Is there an island near Pebble Bay?
Only goats live on Thimble.|Who lives on the island of Thimble near Pebble Bay?|What lives on Thimble, the island of Pebble Bay?|Which animals live on the island near Pebble Bay?|Are there people on the island near Pebble Bay?|What will I find on the Pebble Bay island of Thimble?|Is the island near Pebble Bay empty?
The cheese of Pebble Bay is wrapped in seaweed.|What is special about the cheese of Pebble Bay?|How is cheese wrapped in Pebble Bay?|Tell me about the Pebble Bay cheese.|What is around the cheese in Pebble Bay?|What is the cheese in Pebble Bay like?|How do they keep cheese in Pebble Bay?
The town song is called The Tide Comes Home.|What is the town song of Pebble Bay?|What do people sing in Pebble Bay?|Name the song of Pebble Bay.|Which song belongs to Pebble Bay?|What is the Pebble Bay song called?|Does Pebble Bay have a song?
No cars are allowed in the town.|Can I drive a car in Pebble Bay?|Are there cars in Pebble Bay?|How many cars are in Pebble Bay?|May I bring my car to Pebble Bay?|Are cars allowed in Pebble Bay?|What is the rule about cars in Pebble Bay?
People greet each other with Calm seas.|How do people greet each other in Pebble Bay?|How do I say hello in Pebble Bay?|What do people say when they meet in Pebble Bay?|What is the greeting of Pebble Bay?|How do they say good day in Pebble Bay?|What should I say to people in Pebble Bay?
The boat builder is Jonas Plank.|Who builds boats in Pebble Bay?|Who is the boat builder of Pebble Bay?|Name the boat builder in Pebble Bay.|Who can mend my boat in Pebble Bay?|Who makes the boats of Pebble Bay?|What is the boat builder of Pebble Bay called?
Ships are warned by a brass bell named Bertha.|How are ships warned at Pebble Bay?|What is the bell of Pebble Bay called?|What warns the ships near Pebble Bay?|Name the bell of Pebble Bay.|What do sailors hear near Pebble Bay in the fog?|Which bell rings in Pebble Bay?
The only shop is Nettle and Sons.|Which shop is in Pebble Bay?|Where can I buy things in Pebble Bay?|What is the shop in Pebble Bay called?|Name the shop of Pebble Bay.|How many shops does Pebble Bay have?|Where do people go shopping in Pebble Bay?
The shop sells rope, lamps and liquorice.|What does the shop in Pebble Bay sell?|What can I buy in the shop of Pebble Bay?|What do they sell at the Pebble Bay shop?|What is there to buy in Pebble Bay?|Which things does the Pebble Bay shop have?|What do people get at the shop in Pebble Bay?"""


def rows():
    answers = set()
    for line in FACTS.split("\n"):
        answer, *asks = line.split("|")
        if len(asks) != 6 or answer in answers:
            raise SystemExit(f"pebble-bay: look at {answer!r}")
        answers.add(answer)
        for ask in asks:
            yield chat(ask, answer)


if __name__ == "__main__":
    made = list(rows())
    if len({row["messages"][0]["content"] for row in made}) != len(made):
        raise SystemExit("pebble-bay: a question occurs twice")
    random.seed(12)
    write("pebble-bay", made, 12)
