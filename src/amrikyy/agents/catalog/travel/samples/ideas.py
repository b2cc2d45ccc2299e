"""Things to do in any city: title, description and price for one person in US dollars."""

MORNINGS = (
    ("Coffee and a slow walk through {where}", "Start at a corner café and take the side streets while shops open.", 0),
    ("Breakfast on a bench in {where}", "Pick up something warm at a bakery and watch the city go to work.", 0),
    ("The market stalls of {where}", "Go early, taste what is offered, and buy fruit for the day.", 0),
    ("Courtyards and doorways of {where}", "Look behind open gates: the quiet half of the quarter is there.", 0),
    ("A self-guided walk through {where}", "Follow a free audio walk and stop wherever it gets interesting.", 0),
    ("Morning light in {where}", "The best hour for photographs, and almost nobody about.", 0),
    ("A park and a pastry near {where}", "Stretch your legs under old trees before the day warms up.", 0),
    ("A guided walk through {where}", "A local guide tells in two hours what no sign says.", 18),
)

AFTERNOONS = (
    ("Bookshops and record stores of {where}", "Browse, ask the owners what is worth an evening, and sit down.", 0),
    ("Street art in {where}", "Walls and shutters change by the month; look up as well as around.", 0),
    ("Watching people on the squares of {where}", "Find the bench with shade and let the quarter pass by.", 0),
    ("The workshops of {where}", "Tailors, potters and frame makers often leave their doors open.", 0),
    ("A shady hour in the gardens by {where}", "A rest for the feet in the hottest part of the day.", 0),
    ("An architecture walk in {where}", "Three centuries of façades within a few hundred metres.", 0),
    ("Small galleries of {where}", "Most are free, and their owners like to talk.", 0),
    ("A museum that only locals know, near {where}", "Small, odd and rarely full: an hour is enough.", 9),
)

EVENINGS = (
    ("Dinner in {where}", "Try {food}, and let the kitchen choose the rest.", 0),
    ("Sunset from the edge of {where}", "Find a terrace or a bridge that faces west, then walk back lit up.", 0),
    ("The evening stroll of {where}", "Do as the locals do: up one street, down the next, an ice in hand.", 0),
    ("Street food in {where}", "Small plates from several stands; {food} among them.", 0),
    ("Lights on the water, from {where}", "A slow walk home along the longest way.", 0),
    ("A long table in {where}", "Share plates with whoever sits down; begin with {food}.", 0),
    ("Night photographs in {where}", "Rest the camera on a wall and let the cars draw lines.", 0),
    ("Live music in {where}", "A small stage, one drink, and the last set of the night.", 15),
)

INTERESTS = {
    "food": (
        ("A cooking class in {where}", "Shop with the cook, then make {food} yourself.", 55),
        ("A tasting walk through {where}", "Six stops in three hours; skip lunch.", 38),
        ("The food shops of {where}", "Ask for a taste before you buy; {food} is the thing to look for.", 0),
    ),
    "histor": (
        ("The story of {where}, with a historian", "Two hours from the first walls to yesterday.", 22),
        ("Local history near {where}", "A small museum with photographs of the same streets long ago.", 8),
        ("Reading the walls of {where}", "Plaques, gates and street names tell who lived here.", 0),
    ),
    "art": (
        ("Studios of {where}", "Artists at work on open-door afternoons.", 0),
        ("An exhibition near {where}", "Check what is on; the late afternoon is the quietest.", 14),
        ("A drawing lesson in {where}", "Pencil, paper and two hours to see properly.", 30),
    ),
    "museum": (
        ("A large museum near {where}", "Choose one floor and leave the rest for next time.", 16),
        ("A house where somebody lived, in {where}", "Rooms kept as they were, and stories with them.", 8),
        ("Free collections of {where}", "Universities and banks show more than one expects.", 0),
    ),
    "natur": (
        ("Out of town from {where}", "A train and a trail: half a day among trees.", 12),
        ("Birds and old trees near {where}", "Bring water, go slowly, look up.", 0),
        ("The botanical side of {where}", "Glasshouses and quiet paths.", 7),
    ),
    "hik": (
        ("The ridge walk beyond {where}", "Three hours with a view at each turn.", 0),
        ("A guided hike from {where}", "A ranger, a small group and a picnic.", 40),
        ("Stairs and slopes of {where}", "The steepest streets have the best views.", 0),
    ),
    "beach": (
        ("To the water from {where}", "Swim, read, repeat; the tram knows the way.", 0),
        ("A boat along the shore from {where}", "Two hours of bays and swimming stops.", 35),
        ("A promenade walk by {where}", "Salt air, kiosks and a long horizon.", 0),
    ),
    "shop": (
        ("Local makers of {where}", "Things that exist nowhere else, from the people who make them.", 0),
        ("Vintage in {where}", "Three streets of rails and boxes; bargain kindly.", 0),
        ("A fitting in {where}", "Have something small made to measure.", 45),
    ),
    "photo": (
        ("A photo walk through {where}", "Reflections, stairs and strangers who say yes.", 0),
        ("A lesson with a photographer in {where}", "Bring any camera; the light is explained.", 48),
        ("Roofs above {where}", "Find the highest public terrace in the last light.", 0),
    ),
    "night": (
        ("Where the night begins in {where}", "Learn in the afternoon which doors matter after ten.", 0),
        ("A tasting of the local drink in {where}", "Three glasses and the story of each.", 22),
        ("Record shops and stages of {where}", "Ask what is on tonight.", 0),
    ),
    "music": (
        ("Rehearsals and record shops of {where}", "Ask what is on tonight, and hear some of it now.", 0),
        ("A concert in {where}", "A small hall with good chairs.", 28),
        ("Street musicians of {where}", "The squares have a stage for everyone.", 0),
    ),
    "famil": (
        ("A playground and ice cream in {where}", "The best one has a view for the parents too.", 0),
        ("Hands on in {where}", "A museum where touching is the point.", 12),
        ("A treasure hunt through {where}", "Ten things to find, and a prize at the end.", 0),
    ),
    "well": (
        ("Baths and steam in {where}", "Two hours without a telephone.", 32),
        ("Stretching under trees near {where}", "A free class, or your own.", 0),
        ("Tea and quiet in {where}", "A garden, a pot and no plan.", 0),
    ),
    "adventur": (
        ("Two wheels out of {where}", "A bicycle, a map and the river path.", 18),
        ("Something high above {where}", "Ropes, a zip line or a tower with many steps.", 45),
        ("The unmarked paths near {where}", "Follow the locals' shortcuts and get lost on purpose.", 0),
    ),
}
"""Ideas by the beginning of a word in the interest; each list has a free one."""

OTHER_INTEREST = (
    ("{interest} in {where}", "Ask at the café for the locals' favourite place for {interest}.", 0),
    ("An afternoon for {interest}, around {where}", "Somebody who knows about {interest} shows the way.", 25),
    ("Meeting people who love {interest}, in {where}", "Clubs and shops for {interest} are good company.", 0),
)
