"""Word lists in simple English that the turn generator draws from; holds data only and refuses to hold rules."""

NAMES = """Tom Mia Ben Lily Sam Anna Max Sue Tim Lucy Jack Amy Leo Emma Joe Kate Dan Rosa Bill Jane Omar Nina Finn Ella Pete
Zara Hugo Maya Ravi Lena Kofi Ada Noah Ivy Luis Tara Adam Ruth Carl Dora Eli Meg Hal Jill Ken Lola Ned Olga Paul Rita Sid
Tess Uma Vic Wendy Yusuf Zoe Alice Bruno Clara David Edith Frank Grace Henry Iris Julia Kevin Laura Mark Nora Oscar Polly
Ralph Sara Theo Vera Will Asha Babu Chen Devi Emeka Femi Goran Hana Imani Jomo Karim Layla Mei Nadia Obi Priya Sami Thandi""".split()

ANIMALS = """dog cat cow horse sheep pig hen duck goose rabbit mouse fox bear wolf lion tiger monkey elephant giraffe zebra
frog fish snake turtle crab whale shark bee ant spider owl crow eagle parrot goat donkey camel deer squirrel hedgehog bat
otter seal penguin crocodile snail butterfly worm swan rat mole beaver""".split()

FOODS = """bread cheese soup rice cake pie egg butter honey jam milk pasta porridge pancake sandwich salad biscuit
pudding noodle sausage""".split()
FRUITS = "apple pear plum peach cherry banana orange lemon grape mango melon strawberry fig lime berry".split()
VEGETABLES = "carrot potato onion pea bean cabbage tomato pumpkin corn turnip spinach beet leek radish".split()
COLOURS = "red blue green yellow black white brown pink purple orange grey golden silver".split()
TOOLS = "hammer saw spade rake needle brush broom knife axe ladder rope bucket scissors pan spoon".split()
CLOTHES = "hat coat shirt dress sock shoe boot scarf glove belt cap skirt jacket".split()
PLACES = """park beach forest farm school shop garden kitchen market hill river lake barn house castle bridge field
library bakery station""".split()
TOYS = "ball kite doll drum puzzle boat train robot teddy block car yo-yo balloon whistle bike".split()
FURNITURE = "table chair bed shelf desk lamp cupboard sofa stool mirror rug box".split()
TRANSPORT = "bus car train boat plane bike ship truck van tram".split()
BODY = "hand foot arm leg nose ear eye mouth knee finger toe head back".split()
WEATHER = "rain snow wind sun fog storm frost cloud thunder hail".split()
JOBS = "baker farmer teacher doctor nurse sailor cook driver painter builder fisherman gardener tailor miller pilot".split()
PLANTS = "tree rose grass daisy oak fern cactus tulip moss ivy".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
KINDS = {"animal": ANIMALS, "food": FOODS, "fruit": FRUITS, "vegetable": VEGETABLES, "colour": COLOURS, "tool": TOOLS,
         "toy": TOYS, "place": PLACES, "job": JOBS, "plant": PLANTS}
LISTS = {"animals": ANIMALS, "things to eat": FOODS, "fruits": FRUITS, "vegetables": VEGETABLES, "colours": COLOURS,
         "tools": TOOLS, "clothes": CLOTHES, "places": PLACES, "toys": TOYS, "things in a room": FURNITURE,
         "ways to travel": TRANSPORT, "parts of the body": BODY, "kinds of weather": WEATHER, "jobs": JOBS, "plants": PLANTS,
         "days of the week": DAYS, "months": MONTHS, "farm animals": "cow horse sheep pig hen duck goose goat donkey".split(),
         "animals that can fly": "owl crow eagle parrot bee bat butterfly swan duck goose".split(),
         "animals that live in water": "fish whale shark crab seal otter crocodile turtle".split()}
OPPOSITES = """big:small hot:cold up:down in:out day:night happy:sad fast:slow long:short high:low old:new open:shut hard:soft
wet:dry full:empty light:heavy loud:quiet clean:dirty early:late near:far good:bad strong:weak thick:thin first:last left:right
begin:end push:pull rich:poor sweet:sour kind:cruel brave:afraid asleep:awake deep:shallow wide:narrow smooth:rough
easy:difficult always:never lost:found give:take come:go laugh:cry win:lose love:hate black:white young:old""".split()
PAST = """play:played walk:walked jump:jumped look:looked cook:cooked help:helped call:called climb:climbed wash:washed
paint:painted open:opened clean:cleaned see:saw find:found eat:ate drink:drank make:made take:took give:gave buy:bought
catch:caught draw:drew read:read sing:sang swim:swam run:ran hide:hid lose:lost bring:brought hold:held throw:threw
build:built hear:heard keep:kept sell:sold ride:rode break:broke""".split()
SOUNDS = """cow:moo dog:woof cat:meow duck:quack sheep:baa pig:oink hen:cluck horse:neigh bee:buzz owl:hoot frog:croak
snake:hiss lion:roar mouse:squeak crow:caw donkey:hee-haw wolf:howl""".split()
PLURALS = """mouse:mice man:men woman:women child:children foot:feet tooth:teeth goose:geese sheep:sheep fish:fish leaf:leaves
knife:knives wolf:wolves baby:babies city:cities berry:berries fly:flies box:boxes fox:foxes dish:dishes bus:buses
glass:glasses brush:brushes potato:potatoes tomato:tomatoes""".split()
# Facts, definitions and small advice: question | answer. Several questions may share an answer, parted by /.
FACTS = """What colour is the sky?/What is the colour of the sky? | The sky is blue on a sunny day.
What colour is grass? | Grass is green.
What colour is snow? | Snow is white.
What colour is a ripe banana? | A ripe banana is yellow.
What colour is a fire engine? | A fire engine is red.
How many legs does a dog have? | A dog has four legs.
How many legs does a spider have? | A spider has eight legs.
How many legs does a bird have? | A bird has two legs.
How many legs does an ant have? | An ant has six legs.
How many days are in a week?/How many days does a week have? | There are seven days in a week.
How many months are in a year? | There are twelve months in a year.
How many fingers do you have on one hand? | There are five fingers on one hand.
How many wheels does a bike have? | A bike has two wheels.
How many wheels does a car have? | A car has four wheels.
Where do fish live? | Fish live in water.
Where do bears live? | Many bears live in the forest.
Where do birds live?/Where do birds sleep? | Many birds live in nests in the trees.
Where do bees live? | Bees live in a hive.
Where do cows live? | Cows live on a farm.
Where do camels live? | Camels live in the hot desert.
Where do penguins live? | Penguins live where it is cold, near the sea.
Where does milk come from? | Milk comes from cows.
Where do eggs come from? | Eggs come from hens.
Where does honey come from?/Who makes honey? | Bees make honey from flowers.
Where does rain come from? | Rain falls from the clouds.
Where does bread come from?/What is bread made from? | Bread is made from flour and water.
Where does wool come from? | Wool comes from sheep.
Where do apples grow? | Apples grow on trees.
Where do carrots grow? | Carrots grow under the ground.
What is ice? | Ice is water that is very cold and hard.
What is snow? | Snow is soft white ice that falls from the clouds.
What is a river? | A river is water that runs over the land to the sea.
What is a forest? | A forest is a place with many trees.
What is an island? | An island is land with water all around it.
What is a hill? | A hill is high ground.
What is the sun? | The sun is a star. It gives us light and keeps us warm.
What is the moon? | The moon is the bright ball that we see in the sky at night.
What is a star? | A star is a far away light in the night sky.
What is a farm? | A farm is a place where people grow food and keep animals.
What is a library? | A library is a place with many books that you can borrow.
What is a book? | A book is pages with words and pictures that you can read.
What is a map? | A map is a picture that shows where places are.
What is a clock for? | A clock shows what time it is.
What is an umbrella for?/Why do we use an umbrella? | An umbrella keeps you dry in the rain.
What is a key for? | A key opens a lock.
What is a boat for? | A boat carries people over the water.
What is a bed for? | A bed is for sleeping.
What is a spoon for? | A spoon is for eating soup.
What is a broom for? | A broom is for sweeping the floor.
What is a needle for? | A needle is for sewing.
What does a baker do? | A baker makes bread and cakes.
What does a farmer do? | A farmer grows food and takes care of animals.
What does a teacher do? | A teacher helps children learn.
What does a doctor do? | A doctor helps people who are sick.
What does a sailor do? | A sailor works on a ship.
What does a tailor do? | A tailor makes clothes.
What does a cook do? | A cook makes food for people.
What does a fisherman do? | A fisherman catches fish.
What does a gardener do? | A gardener takes care of plants.
What do rabbits eat? | Rabbits eat grass and carrots.
What do cats like to drink? | Cats like to drink milk and water.
What do cows eat? | Cows eat grass.
What do monkeys like to eat? | Monkeys like to eat bananas.
What do birds eat? | Birds eat seeds and worms.
What do plants need?/What do plants need to grow? | Plants need water, light and good soil.
What do you do with a book? | You read a book.
What do you do with soap? | You wash with soap.
What do we do when it is dark? | When it is dark, we turn on the light.
When do we sleep?/When do people sleep? | We sleep at night.
When do we eat breakfast? | We eat breakfast in the morning.
When does the sun rise? | The sun rises in the morning.
When does it snow? | It snows in winter, when it is cold.
When do leaves fall? | Leaves fall in autumn.
When do flowers grow? | Many flowers grow in spring.
Which season is hot?/Which season is the hottest? | Summer is hot.
Which season is cold?/Which season is the coldest? | Winter is cold.
Name the four seasons./What are the four seasons? | Spring, summer, autumn and winter.
Which is bigger, a mouse or an elephant? | An elephant is bigger.
Which is faster, a car or a bike? | A car is faster.
Which is hotter, fire or ice? | Fire is hotter.
Which is heavier, a stone or a feather? | A stone is heavier.
Which is smaller, an ant or a dog? | An ant is smaller.
Can a fish fly? | No, a fish swims in the water.
Can a bird fly? | Yes, most birds can fly.
Can a dog read? | No, a dog can not read.
Can a stone swim? | No, a stone sinks in the water.
Is the sun cold? | No, the sun is very hot.
Is ice hot? | No, ice is cold.
Is a rose a flower? | Yes, a rose is a flower.
Is a cat a bird? | No, a cat is not a bird. A cat is an animal with soft fur.
Do fish live in trees? | No, fish live in water.
Do trees have leaves? | Yes, most trees have leaves.
Why do we wear a coat?/Why do people wear coats? | We wear a coat to stay warm.
Why do we wash our hands? | We wash our hands so that they are clean and we do not get sick.
Why do we sleep? | We sleep so that we can rest and grow.
Why do we say please? | We say please because it is kind.
Why do birds build nests? | Birds build nests to keep their eggs safe.
Why do people use ladders? | People use ladders to reach high places."""
TALK = """Hello./Hello!/Hi./Hi there!/Hey!/Good day! | Hello! How can I help you?/Hi! It is nice to meet you./Hello there! What would you like to talk about?
Good morning./Good morning! | Good morning! Did you sleep well?/Good morning! It is a new day.
Good night./Good night!/I am going to bed. | Good night! Sleep well./Good night. Sweet dreams!
How are you?/How are you today?/How do you feel? | I am fine, thank you. How are you?/I am well, thank you./Very well, thank you for asking.
What is your name?/Who are you?/What are you?/Tell me who you are. | I am a small language model. I know many stories./I am a very small language model that learned from stories.
Can you help me?/I need help./Please help me. | Yes, I can try. What do you need?/Of course. Tell me what you need.
Thank you./Thanks!/Thank you very much! | You are welcome!/You are welcome. I am glad to help.
Goodbye./Bye!/See you soon. | Goodbye! Have a nice day./Bye! Come back soon./Goodbye!
What can you do?/What do you know? | I can tell short stories, answer simple questions and make lists.
Do you like stories?/What do you like? | Yes, I like stories about animals and good friends.
Are you a person?/Are you real?/Are you human? | No, I am a computer program that writes words.
How old are you? | I am a computer program, so I do not have an age.
What is my name?/Do you know my name? | I do not know your name. What is it?
Where do I live?/Do you know where I live? | I do not know where you live.
What time is it? | I do not know. I can not see a clock.
What is the weather today?/Is it raining? | I do not know. You can look out of the window.
I am tired./I feel tired. | Then it is good to rest. You could take a nap.
I am hungry./I feel hungry. | You could eat an apple or some bread.
I am thirsty. | You could drink some water.
I am cold./I feel cold. | You could put on a warm coat.
I am bored./I have nothing to do. | You could read a book or play outside.
I am lost. | Stay calm. Ask a kind grown-up to help you.
I broke a cup./I broke my toy. | It was a mistake. You could tell the truth and say sorry.
I have a secret. | You can tell it to someone that you trust.
Tell me a joke./Do you know a joke? | What has hands but can not clap? A clock!/Why did the bee go to school? To learn its A, B, bees!
Tell me something nice./Say something kind. | You are a good friend./You did a good job today.
Do you like me? | I like to talk with you.
Please be quiet. | All right. I will be quiet.
You are wrong./That is not right. | I am sorry. I am small and I make mistakes.
You are funny!/I like you. | Thank you! That is very kind."""
HOWTO = """make a sandwich | Take two pieces of bread. Put some butter and cheese on one. Put the other piece on top.
wash my hands | Make your hands wet. Rub them with soap. Then rinse them with water and dry them.
plant a seed | Make a small hole in the soil. Put the seed in and cover it. Then give it some water.
make tea | Boil some water. Put the tea in a cup and pour in the water. Wait a little, and then drink it.
draw a cat | Draw a circle for the head. Add two ears, two eyes and a nose. Then draw long whiskers.
find a lost toy | Think about where you played. Look under the bed and behind the chairs. Ask your family to help.
make a friend | Smile and say hello. Ask what they like. Then play a game together.
cross the road | Stop at the side of the road. Look left and right. When no cars are coming, walk across.
make a cake | Mix flour, eggs, butter and sugar. Pour it into a pan. Bake it until it is golden.
clean my room | Pick up your toys. Put the books on the shelf. Then sweep the floor.
say sorry | Look at your friend and tell them what you did. Say that you are sorry. Then try to make it better.
fall asleep | Lie down in your bed and close your eyes. Breathe slowly. Think of something nice.
build a snowman | Roll a big ball of snow. Put a smaller ball on top. Add stones for eyes and a carrot for a nose.
catch a ball | Watch the ball all the time. Hold out your hands. Close them when the ball touches them.
take care of a dog | Give it food and water every day. Take it for walks. Be kind and play with it.
fly a kite | Go to an open field on a windy day. Hold the string and run. Let the wind lift the kite.
make soup | Cut some carrots and potatoes. Put them in a pot of water. Cook them until they are soft.
wrap a gift | Put the box on some paper. Fold the paper around it. Close it with tape and tie a ribbon.""" 
