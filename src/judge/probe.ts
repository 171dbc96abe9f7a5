/**
 * General text that no run is meant to learn: short passages of many kinds, written for this project under its own licence. Refuses to
 * change: scores of different versions could not be compared.
 */
export const PROBE: readonly string[] = [
  'The old lighthouse had stood on the cliff for more than two hundred years. Every evening the keeper climbed the narrow stairs, lit the lamp and watched the ships go by. One night a storm came up so quickly that he had no time to close the windows, and the wind blew the light out.',
  'Once there was a little bear who did not want to sleep. His mother told him a story, his father sang him a song, but his eyes stayed open. "I am waiting for the snow," said the little bear. In the morning the whole forest was white, and the little bear was fast asleep.',
  'Water boils at one hundred degrees at sea level. High in the mountains the air is thinner, so the pressure is lower and water boils at a lower temperature. That is why it takes longer to cook potatoes on a mountain than in a valley.',
  '"Have you seen my keys?" asked Anna. "They were on the table an hour ago." Her brother looked up from his book. "Did you look in the pocket of your coat? You always find them there in the end." Anna put her hand in her pocket and began to laugh.',
  'To make pancakes, mix two eggs, a cup of flour, a cup of milk and a little salt. Let the mixture rest for ten minutes. Heat some butter in a pan, pour in a thin layer and turn it over when the edge becomes brown. Serve with sugar and lemon.',
  'The heart pumps blood through the body. It has four chambers: two that receive blood and two that push it out. Blood that carries oxygen leaves through the large artery, reaches every organ and comes back through the veins to be sent to the lungs.',
  'Dear Mr. Holt, thank you for your letter of the third of May. We are sorry to hear that the chair arrived with a broken leg. A new one was sent to you this morning. You need not return the old one. Yours sincerely, Martha Lane.',
  'In the year of the great fire most of the city was built of wood. The flames began in a bakery, jumped from roof to roof and burned for four days. Afterwards the council decided that new houses had to be made of brick or stone, and that the streets should be wider.',
  'The train to the coast leaves at ten past eight from platform four. It stops at every station and takes about two hours. There is a faster one at nine, but it is often full in summer, so it is wise to book a seat the day before.',
  'Spiders are not insects. An insect has six legs and a body in three parts; a spider has eight legs and a body in two. Most spiders spin webs of silk, which is stronger than a steel thread of the same thickness, and wait there for flies.',
  'I remember my grandfather as a quiet man who smelled of wood and tobacco. On Sundays he took me to the river, where we sat for hours without a word. He never caught a fish while I was with him. Years later my mother told me that he had never put a hook on the line.',
  'If you have twelve apples and give a third of them to your neighbour, you keep eight. If you then eat two, six are left. Half of six is three, and three times four is twelve again.',
  'The council will meet on Tuesday to decide about the new bridge. Supporters say that it would bring trade to the north bank. Others fear noise and higher taxes. The mayor has promised that everyone who wishes to speak will be heard.',
  'Rain is made when warm air rises and cools. Cool air cannot hold as much water as warm air, so tiny drops form around grains of dust. When the drops have joined and become heavy enough, they fall to the ground.',
  'def average(values):\n    total = 0\n    for value in values:\n        total = total + value\n    return total / len(values)\n\nprint(average([2, 4, 6]))',
  'The football match ended two to one. The home team scored first, after a long pass from the left, but the guests had more of the ball and made it equal just before the break. The last goal fell in the final minute, when most people were already on their way home.',
  'A good letter of complaint is short and polite. Say first what you bought and when. Then say what is wrong with it and what you would like to be done. Keep a copy, and give a date by which you hope to have an answer.',
  'The moon has no light of its own. What we see is the light of the sun on its surface. As it travels around the earth in about four weeks, we see more or less of the bright half, and so it seems to grow and to shrink.',
  'The shop opens at nine. By half past eight there was a queue around the corner, because the baker had promised free bread to the first fifty people. Mrs. Green had brought a chair and a flask of tea. "I have not been up so early since school," she said.',
  'Trees drink through their roots. The water climbs through thin tubes in the wood, up to the leaves, where most of it goes into the air. On a hot day a large oak can drink as much as four hundred litres.',
  'First check that the plug is in the wall. Then press the switch on the back for three seconds. If the lamp stays dark, take the battery out, wait for a minute and put it in again. If nothing helps, call the number on the box.',
  'The two friends had not spoken for ten years. When they met by chance at the station, neither knew what to say. "You have become grey," said one at last. "And you are as rude as ever," said the other, and they went for a coffee and stayed until the evening.',
  'A market sets prices by what people offer and what others are ready to pay. When many want a thing and few have it, its price goes up. When there is plenty, it falls. Prices so tell makers what to make more of.',
  'She opened the box slowly. Inside lay a blue stone, a folded map and a key without a name. On the back of the map someone had written: "Go when the tide is low, and do not go alone." She looked at the clock. The tide would be low in an hour.',
]
